"""What a consumer says that it waits for."""

import pytest

from consumer.engine.bodies.moves import BodyMoves, Fetch
from consumer.engine.engine import Engine
from consumer.engine.waiting.standing import QUIET_S, UNTAKEN_S
from consumer.engine.waiting.waits import (
    LEAST_S,
    MOST_CHARACTERS,
    MOST_LINES,
    LastingWaits,
    bounded,
    merged,
    no_leader,
    open_transaction,
    subject,
    topic_gone,
)
from handoff.breaker import FAILURES_TO_OPEN
from handoff.chunk import Outcomes
from tests.engines import P0, answer, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS
from tests.unit.engine.bodies.test_body_moves import engine_with, reference, started


def engine_of(records: int, *, max_records: int = 1_000, limit_characters: int = 4096) -> Engine:
    engine = make_engine(max_records=max_records, metadata_limit_characters=limit_characters)
    engine.assign({P0: None})
    engine.deliver([record(n) for n in range(records)], 0.0, EPOCH_MS)
    return engine


def test_a_consumer_with_work_and_one_without_wait_for_nothing() -> None:
    for engine in (engine_of(0), engine_of(3)):
        for now_s in range(100):
            assert engine.waits(now_s) == []


def test_before_the_first_assignment_it_waits_for_the_group() -> None:
    engine = make_engine()
    assert [subject(line) for line in engine.waits(0.0)] == ["waits for the group"]


def test_a_rebalance_and_a_lost_session_are_told_apart() -> None:
    engine = engine_of(0)
    engine.suspend()
    assert [subject(line) for line in engine.waits(0.0)] == ["the group is rebalancing"]
    engine.assign({P0: None})
    assert engine.waits(0.0) == []
    engine.suspend("the session is lost: it joins again")
    engine.suspend()  # joining again revokes, as every rebalance does
    assert engine.waits(0.0) == ["the session is lost: it joins again"]


def test_a_consumer_that_is_stopped_or_has_failed_says_nothing() -> None:
    stopping, failed = engine_of(0), engine_of(0)
    stopping.suspend()
    stopping.stop_intake()
    failed.end()
    assert stopping.waits(0.0) == failed.waits(0.0) == []


def test_a_model_that_is_down_is_told_with_its_next_try() -> None:
    engine = engine_of(3)
    now_s = 0.0
    for number in range(FAILURES_TO_OPEN):
        assert engine.waits(now_s) == []
        now_s = 30.0 * number
        engine.advance(now_s, EPOCH_MS)
        call, _ = next_call(engine, now_s, EPOCH_MS)
        engine.take_outcomes(call, Outcomes("replica-1", 64), now_s, EPOCH_MS)
        engine.end_call(call, "the replica died", now_s, EPOCH_MS)
    (line,) = engine.waits(now_s - 2.0)
    assert line.startswith("the model is down: 3 calls failed in a row, next try in 2 s")

    engine.advance(now_s + 30.0, EPOCH_MS)
    call, chunk = next_call(engine, now_s + 30.0, EPOCH_MS)
    assert "it is being tried" in engine.waits(now_s + 30.0)[0]
    answer(call, chunk, engine, now_s=now_s + 31.0)
    publish_all(engine)
    assert engine.waits(now_s + 31.0) == []


def test_a_call_that_no_replica_takes_is_told() -> None:
    engine = engine_of(3)
    call, _ = next_call(engine, 100.0, EPOCH_MS)
    assert engine.waits(100.0 + UNTAKEN_S - 1) == []
    (line,) = engine.waits(140.0)
    assert line.startswith("no model replica takes a call: one has waited for 40 s")
    engine.take_outcomes(call, Outcomes("replica-1", 64), 141.0, EPOCH_MS)
    assert engine.waits(142.0) == []


def test_full_admission_is_told_where_nothing_is_completed() -> None:
    engine = engine_of(4, max_records=4)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    engine.take_outcomes(call, Outcomes("replica-1", 64), 0.0, EPOCH_MS)
    assert engine.waits(0.0) == []  # a busy consumer is full all the time
    (line,) = engine.waits(QUIET_S)
    assert line.startswith("admission is full (flow.max_records 4): 4 are held")
    answer(call, chunk, engine, now_s=QUIET_S)
    publish_all(engine)
    assert engine.waits(QUIET_S + 1) == []


def test_full_admission_names_the_limit_that_is_reached() -> None:
    engine = make_engine(max_bytes=100)
    engine.assign({P0: None})
    engine.deliver([record(n) for n in range(4)], 0.0, EPOCH_MS)
    engine.waits(0.0)
    assert engine.waits(QUIET_S)[0].startswith("admission is full (flow.max_bytes 100): ")


def test_outcomes_that_nobody_acknowledges_are_told() -> None:
    engine = engine_of(5)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    answer(call, chunk, engine, now_s=0.0)
    engine.waits(0.0)
    taken = engine.take_publications(100, 1 << 30)
    (line,) = engine.waits(QUIET_S + 5)
    assert line.startswith(
        "the brokers acknowledge nothing: 5 outcomes wait, and none was taken for 15 s"
    )
    engine.acknowledged(taken)
    assert engine.waits(QUIET_S + 6) == []


def test_time_without_work_is_no_time_of_waiting() -> None:
    engine = engine_of(0)
    engine.waits(0.0)
    engine.waits(10_000.0)
    engine.deliver([record(0)], 10_001.0, EPOCH_MS)
    call, chunk = next_call(engine, 10_001.0, EPOCH_MS)
    answer(call, chunk, engine, now_s=10_001.0)
    assert engine.waits(10_002.0) == []


def test_a_full_completion_map_names_the_offset_that_fills_it() -> None:
    engine = engine_of(900, limit_characters=80)
    (line,) = engine.waits(0.0)
    assert line.startswith("partition 0 is held up by offset 0: ")
    assert "completion map" in line


def test_an_object_store_that_fails_is_told_with_its_reason() -> None:
    engine = engine_with(reference(0, 500), reference(1, 500))
    assert engine.waits(0.0) == []
    for move in started(engine):
        assert isinstance(move, Fetch)
        engine.bodies.failed(move, "/mnt/results is not there: mount it", 0.0, EPOCH_MS)
    (line,) = engine.waits(1.0)
    assert line == (
        "the object store fails: 2 bodies are to be moved again; /mnt/results is not there: "
        "mount it"
    )
    assert len(engine.bodies.moves.failing()) == 2
    again = started(engine, 60.0)
    assert len(engine.bodies.moves.failing()) == 2  # each once, also while it is tried
    assert isinstance(engine.bodies.moves, BodyMoves)
    assert len(again) == 2


def test_only_what_lasts_is_passed_on() -> None:
    waits = LastingWaits()
    assert waits.of(["a: 1", "b: 1"], 0.0) == []
    assert waits.of(["a: 2"], LEAST_S - 1) == []
    assert waits.of(["a: 3", "b: 2"], LEAST_S) == ["a: 3"]
    assert waits.of(["a: 4", "b: 3"], LEAST_S + 1) == ["a: 4"]
    assert waits.of([], LEAST_S + 2) == []
    assert waits.of(["a: 5"], LEAST_S + 3) == []


def test_what_several_consumers_say_is_said_once_and_counted() -> None:
    down = "the model is down: {} calls failed in a row"
    assert merged(
        [[down.format(3), topic_gone("out")], [down.format(4)], [no_leader("in", 1)], []]
    ) == [f"{down.format(4)} (2 consumers)", topic_gone("out"), no_leader("in", 1)]
    # Partitions are apart, and so are transactions in one of them.
    apart = [open_transaction("in", 0, 5, 7), open_transaction("in", 0, 9, 7), no_leader("in", 0)]
    assert merged([[each] for each in apart]) == apart


@pytest.mark.parametrize("lines", [0, MOST_LINES, MOST_LINES + 1, 1_000])
def test_lines_are_few_and_short(lines: int) -> None:
    found = bounded(f"partition {n}: " + "x" * 2 * MOST_CHARACTERS for n in range(lines))
    assert len(found) == min(lines, MOST_LINES)
    assert all(len(each) <= MOST_CHARACTERS for each in found)
    if lines > MOST_LINES:
        assert found[-1] == f"more: {lines - MOST_LINES + 1} other lines like these"
