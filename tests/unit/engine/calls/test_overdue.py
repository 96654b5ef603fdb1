"""Calls that take too long, and deadlines that pass while a replica is silent."""

import orjson
import pytest

from consumer.engine.calls.attempt_timeout import LEAST_S, AttemptTimeout
from consumer.engine.calls.calls import DEADLINE_GRACE_S
from consumer.engine.engine import Engine
from consumer.engine.work import Call
from handoff.chunk import STATUS_OK, STATUS_UNAVAILABLE, Outcomes
from tests.engines import P0, line, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS

ACCEPTED = Outcomes(replica="", window_records=0)
LOOK_S = 5.0


def look_until(engine: Engine, from_s: float, to_s: float) -> list[Call]:
    """Look for overdue calls until some are to be ended, or until ``to_s``."""
    now_s = from_s
    while now_s < to_s:
        now_s += LOOK_S
        engine.advance(now_s, EPOCH_MS + int(now_s * 1000))
        if unwanted := engine.calls.give_up_overdue(now_s, EPOCH_MS + int(now_s * 1000)):
            return unwanted
    return []


def start_call(engine: Engine, now_s: float) -> Call:
    call, _ = next_call(engine, now_s, EPOCH_MS)
    engine.take_outcomes(call, ACCEPTED, now_s, EPOCH_MS)
    return call


def answer_one(engine: Engine, call: Call, now_s: float, index: int = 0) -> None:
    outcomes = Outcomes("replica-1", 256)
    outcomes.add(index, STATUS_OK, b"{}")
    engine.take_outcomes(call, outcomes, now_s, EPOCH_MS)


def answer_another(engine: Engine, offset: int, now_s: float) -> None:
    """Have the model answer a new record, so that it counts as up, with a window of 256."""
    engine.deliver([record(offset)], now_s, EPOCH_MS)
    call = start_call(engine, now_s)
    answer_one(engine, call, now_s)
    engine.end_call(call, "over", now_s, EPOCH_MS)


def test_the_limit_is_learned_from_what_took_longest_and_never_short() -> None:
    timeout = AttemptTimeout(None)
    assert timeout.limit_s(0) == LEAST_S
    timeout.learn(2.0, 0, 0.0)
    assert timeout.limit_s(0) == LEAST_S
    timeout.learn(1_000.0, 0, 1_000.0)
    assert timeout.limit_s(0) == 4_000.0
    assert [timeout.limit_s(times) for times in (1, 2, 3, 9)] == [8e3, 16e3, 16e3, 16e3]
    # Over the limit nothing is waited for: whatever took so long, this process stood still.
    timeout.learn(1e6, 0, 1e6)
    assert timeout.limit_s(0) == 16_000.0


def test_while_nothing_is_answered_each_timeout_doubles_it_for_all() -> None:
    timeout = AttemptTimeout(None)
    limits_s = []
    for _ in range(6):
        timeout.exceeded()
        limits_s.append(timeout.limit_s(0) / LEAST_S)
    assert limits_s == [2, 4, 8, 16, 16, 16]
    timeout.learn(1.0, 0, 0.0)
    assert timeout.limit_s(0) == LEAST_S


def test_a_limit_that_is_set_stands() -> None:
    timeout = AttemptTimeout(30.0)
    timeout.learn(29.0, 0, 0.0)
    timeout.exceeded()
    assert timeout.limit_s(0) == timeout.limit_s(5) == 30.0


def test_a_call_that_hangs_is_given_up_and_its_records_go_again() -> None:
    engine = make_engine(chunk_records=128)
    engine.assign({P0: None})
    engine.deliver([record(n) for n in range(16)], 0.0, EPOCH_MS)
    call = start_call(engine, 0.0)
    answer_one(engine, call, 1.0)
    assert look_until(engine, 1.0, LEAST_S - LOOK_S) == []
    assert look_until(engine, LEAST_S - LOOK_S, LEAST_S + 2 * LOOK_S) == [call]
    assert not call.is_wanted()
    now_s = LEAST_S + 3 * LOOK_S
    engine.end_call(call, "the call was cancelled", now_s, EPOCH_MS)
    assert engine.counters.retried_records == 15
    engine.advance(now_s + 20, EPOCH_MS)
    again, chunk = next_call(engine, now_s + 20, EPOCH_MS)
    assert again.records < 15  # split, to find out which one hangs
    assert line("0-0") not in chunk.lines


def test_silence_counts_and_not_the_whole_time_of_a_call() -> None:
    engine = make_engine(chunk_records=128)
    engine.assign({P0: None})
    engine.deliver([record(n) for n in range(10)], 0.0, EPOCH_MS)
    call = start_call(engine, 0.0)
    for number in range(9):
        assert look_until(engine, number * 1e3, (number + 1) * 1e3) == []
        answer_one(engine, call, (number + 1) * 1e3, number)


def test_a_call_that_no_replica_has_taken_waits_for_one() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    next_call(engine, 0.0, EPOCH_MS)
    assert look_until(engine, 0.0, 20 * LEAST_S) == []


def test_time_in_which_this_process_stood_still_counts_for_nothing() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    call = start_call(engine, 0.0)
    assert look_until(engine, 0.0, 100.0) == []
    woke_s = 100.0 + 5 * LEAST_S
    assert engine.calls.give_up_overdue(woke_s, EPOCH_MS) == []
    assert look_until(engine, woke_s, woke_s + LEAST_S - 150.0) == []
    assert look_until(engine, woke_s + LEAST_S - 150.0, woke_s + LEAST_S) == [call]


def test_a_last_attempt_that_hangs_stops_nobody_for_ever() -> None:
    engine = make_engine(chunk_records=1, max_attempts=3)
    engine.assign({P0: None})
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    now_s = 0.0
    for offset in (1, 2):
        lost = start_call(engine, now_s)
        engine.end_call(lost, "the replica died", now_s, EPOCH_MS)
        answer_another(engine, offset, now_s)
        now_s += 20.0
        engine.advance(now_s, EPOCH_MS)
    engine.deliver([record(n) for n in range(3, 50)], now_s, EPOCH_MS)
    hung = start_call(engine, now_s)
    assert engine.next_call(now_s, EPOCH_MS) is None

    assert look_until(engine, now_s, now_s + 2 * LEAST_S) == [hung]
    now_s += 2 * LEAST_S
    engine.end_call(hung, "the call was cancelled", now_s, EPOCH_MS)
    assert engine.counters.dead_letter_records == 1
    letter = publish_all(engine)[-1].messages[0]
    said = dict(letter.headers)["headrace-error-message"] or b""
    assert b"sent nothing for 1800 s" in said
    assert engine.next_call(now_s, EPOCH_MS) is not None


def test_a_record_that_always_hangs_is_given_up_and_never_has_the_model_to_itself() -> None:
    engine = make_engine(chunk_records=1, max_attempts=4, attempt_timeout_s=60.0)
    engine.assign({P0: None})
    answer_another(engine, 1, 0.0)
    engine.deliver([record(2)], 0.0, EPOCH_MS)
    now_s, offset = 0.0, 3
    for _ in range(4):
        hung, chunk = next_call(engine, now_s, EPOCH_MS)
        assert chunk.lines == [line("0-2")]
        engine.take_outcomes(hung, ACCEPTED, now_s, EPOCH_MS)
        while not engine.calls.give_up_overdue(now_s, EPOCH_MS):
            now_s += LOOK_S
            answer_another(engine, offset, now_s)
            offset += 1
        engine.end_call(hung, "the call was cancelled", now_s, EPOCH_MS)
        now_s += 20.0
        engine.calls.give_up_overdue(now_s, EPOCH_MS)
        engine.advance(now_s, EPOCH_MS)
    assert engine.counters.dead_letter_records == 1
    assert engine.counters.answered_records == offset - 2


@pytest.mark.parametrize("is_accepted", [True, False])
def test_a_deadline_is_kept_though_the_replica_is_silent(is_accepted: bool) -> None:
    engine = make_engine()
    engine.assign({P0: None})
    due = [("headrace-deadline", b"%d" % (EPOCH_MS + 20_000))]
    engine.deliver([record(0, headers=due), record(1)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    if is_accepted:
        engine.take_outcomes(call, ACCEPTED, 0.0, EPOCH_MS)
    assert look_until(engine, 0.0, 20.0 + DEADLINE_GRACE_S - LOOK_S) == []
    assert not publish_all(engine)
    # The other one is still wanted, and the call runs on for it.
    assert look_until(engine, 20.0, 30.0 + DEADLINE_GRACE_S) == []
    assert call.is_wanted()
    (publication,) = publish_all(engine)
    assert orjson.loads(publication.messages[0].value or b"")["error"]["code"] == "request_expired"
    assert engine.counters.expired_records == 1
    # The late answer counts for nothing.
    answer_one(engine, call, 40.0, 0)
    answer_one(engine, call, 40.0, 1)
    engine.end_call(call, "over", 40.0, EPOCH_MS)
    assert len(publish_all(engine)) == 1
    assert engine.in_flight_records == 0


def test_a_call_all_of_whose_deadlines_have_passed_is_ended_and_costs_nobody_an_attempt() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    for n, due_ms in enumerate((10_000, 20_000)):
        due = [("headrace-deadline", b"%d" % (EPOCH_MS + due_ms))]
        engine.deliver([record(n, headers=due)], 0.0, EPOCH_MS)
    call = start_call(engine, 0.0)
    assert look_until(engine, 0.0, 60.0) == [call]
    assert engine.counters.expired_records == 2
    engine.end_call(call, "the call was cancelled", 30.0, EPOCH_MS)
    assert engine.counters.retried_records == 0
    assert engine.in_flight_records == 0
    assert engine.next_call(30.0, EPOCH_MS) is None


def test_calls_that_are_all_slow_are_not_cut_off_together() -> None:
    engine = make_engine(chunk_records=1)
    engine.assign({P0: None})
    answer_another(engine, 0, 0.0)
    engine.deliver([record(n) for n in range(1, 9)], 0.0, EPOCH_MS)
    calls = [start_call(engine, 0.0) for _ in range(8)]
    (first,) = look_until(engine, 0.0, 2 * LEAST_S)
    engine.end_call(first, "the call was cancelled", LEAST_S, EPOCH_MS)
    assert look_until(engine, LEAST_S, 2 * LEAST_S - LOOK_S) == []
    # One answer tells that it is no general slowness, or that it is: then that is learned.
    answer_one(engine, calls[-1], 2 * LEAST_S - LOOK_S)
    assert look_until(engine, 2 * LEAST_S - LOOK_S, 5 * LEAST_S) == []


def test_a_replica_that_has_no_room_tells_nothing_of_how_long_an_answer_takes() -> None:
    timeout_s = 4 * LEAST_S
    engine = make_engine(chunk_records=1)
    engine.assign({P0: None})
    answer_another(engine, 0, 0.0)
    engine.deliver([record(1), record(2)], 0.0, EPOCH_MS)
    slow = start_call(engine, 0.0)
    engine.calls._timeout.exceeded()
    engine.calls._timeout.exceeded()
    full = start_call(engine, 0.0)
    outcomes = Outcomes("replica-1", 256)
    outcomes.add(0, STATUS_UNAVAILABLE, b"{}")
    engine.take_outcomes(full, outcomes, 1.0, EPOCH_MS)
    engine.end_call(full, "over", 1.0, EPOCH_MS)
    assert look_until(engine, 1.0, timeout_s - LOOK_S) == []
    assert look_until(engine, timeout_s - LOOK_S, timeout_s + LOOK_S) == [slow]
