"""Which body of the object store moves when: room, order, failures, and time."""

from collections.abc import Sequence

import orjson
import pytest

from consumer.engine.bodies.moves import (
    ClaimCheckPolicy,
    Deposit,
    Fetch,
    Move,
)
from consumer.engine.calls.key_queues import Ordering
from consumer.engine.engine import Engine
from consumer.ports import Record
from handoff.chunk import Outcomes
from schemas.wire.headers import JOB, JOB_WEIGHT, Header
from tests.engines import (
    P0,
    P1,
    PREFIX,
    URL,
    answer,
    end_fetch,
    make_engine,
    next_call,
    publish_all,
    record,
)
from tests.simulation import EPOCH_MS

GIVE_UP_AFTER_S = 60.0
POLICY = ClaimCheckPolicy(
    over_bytes=2_000,
    message_limit_bytes=1 << 30,
    max_object_bytes=100_000,
    give_up_after_s=GIVE_UP_AFTER_S,
)
MAX_BYTES = 20_000


def body_of(size_bytes: int) -> bytes:
    return b'{"input":"' + b"x" * (size_bytes - 12) + b'"}'


def reference(
    offset: int,
    size_bytes: int | None,
    *,
    key: bytes | None = None,
    headers: Sequence[Header] = (),
) -> Record:
    size = {} if size_bytes is None else {"size_bytes": size_bytes}
    value = orjson.dumps(
        {"custom_id": f"r{offset}", "url": URL, "body_ref": {"url": f"{PREFIX}/{offset}"} | size}
    )
    return record(offset, value, key=key, headers=headers)


def engine_with(*records: Record, ordering: Ordering = "none") -> Engine:
    engine = make_engine(
        ordering=ordering, max_bytes=MAX_BYTES, max_request_bytes=100_000, claim_check=POLICY
    )
    engine.assign({P0: None})
    engine.deliver(records, 0.0, EPOCH_MS)
    return engine


def started(engine: Engine, now_s: float = 0.0) -> list[Move]:
    moves = []
    while (move := engine.bodies.moves.next_move(now_s)) is not None:
        moves.append(move)
    return moves


def offsets_of(moves: list[Move]) -> list[int]:
    return [move.item.record.offset for move in moves]


def finish(engine: Engine, move: Move, size_bytes: int, now_s: float = 0.0) -> None:
    assert isinstance(move, Fetch)
    end_fetch(engine, move, body_of(size_bytes), now_s)


def compute_all(engine: Engine, now_s: float = 0.0) -> None:
    while (call := engine.next_call(now_s, EPOCH_MS)) is not None:
        answer(*call, engine, now_s=now_s)
    publish_all(engine)


@pytest.mark.parametrize("ordering", ["key", "partition"])
def test_a_body_is_fetched_when_its_record_is_unblocked(ordering: Ordering) -> None:
    # The first does not say how large it is: the sizes of those behind it would fill the room.
    sizes = [None, *[4_000] * 9]
    records = [reference(offset, size, key=b"a") for offset, size in enumerate(sizes)]
    engine = engine_with(*records, ordering=ordering)
    for offset in range(10):
        while moves := started(engine):
            assert offsets_of(moves) == [offset]
            finish(engine, moves[0], 4_000)
        compute_all(engine)
    assert engine.held_records == engine.held_bytes == 0
    assert engine.counters.answered_records == 10


def test_a_fetch_that_failed_keeps_nobody_else_waiting() -> None:
    records = [reference(0, 8_000, key=b"a"), reference(1, 8_000, key=b"a")]
    records += [reference(offset, 8_000, key=b"%d" % offset) for offset in range(2, 6)]
    engine = engine_with(*records, ordering="key")
    first, second = started(engine)
    engine.bodies.failed(first, "away", 0.0, EPOCH_MS)
    finish(engine, second, 8_000)
    (third,) = started(engine)
    assert offsets_of([second, third]) == [2, 3]
    finish(engine, third, 8_000)
    compute_all(engine)
    # It comes back to its old place in the line, before those that came later.
    assert offsets_of(started(engine, 20.0)) == [0, 4]


def test_a_measured_body_comes_back_to_its_place_in_the_line() -> None:
    sizes = [None, None, 9_000, 9_000]
    engine = engine_with(*[reference(offset, size) for offset, size in enumerate(sizes)])
    moves = started(engine)
    assert offsets_of(moves) == [0, 1, 2, 3]
    finish(engine, moves[2], 9_000)
    finish(engine, moves[3], 9_000)
    finish(engine, moves[1], 9_000)
    finish(engine, moves[0], 9_000)
    compute_all(engine)
    assert offsets_of(started(engine)) == [0, 1]


def test_what_has_no_room_lets_smaller_bodies_pass_but_not_for_ever() -> None:
    records = [reference(0, 15_000), reference(1, 15_000)]
    engine = engine_with(*records, *[reference(offset, 1_000) for offset in range(2, 8)])
    first, *small = started(engine)
    assert offsets_of([first, *small]) == [0, 2, 3, 4, 5]
    for move in small:
        finish(engine, move, 1_000)
    compute_all(engine)
    assert offsets_of(started(engine, 4.0)) == [6, 7]
    engine.deliver([reference(8, 100)], 4.0, EPOCH_MS)
    assert started(engine, 6.0) == []
    finish(engine, first, 15_000, 6.0)
    compute_all(engine, 6.0)
    assert offsets_of(started(engine, 6.0)) == [1, 8]


def test_a_failed_body_is_given_up_in_time_though_it_has_no_turn_to_fail_again() -> None:
    engine = engine_with(*[reference(offset, 100) for offset in range(9)])
    first, *hanging = started(engine)
    engine.bodies.failed(first, "away", 0.0, EPOCH_MS)
    hanging += started(engine)
    assert len(hanging) == 8
    assert started(engine, 30.0) == []
    engine.advance(GIVE_UP_AFTER_S - 1, EPOCH_MS)
    assert engine.counters.dead_letter_records == 0
    engine.advance(GIVE_UP_AFTER_S, EPOCH_MS)
    assert engine.counters.dead_letter_records == 1
    (publication,) = publish_all(engine)
    assert publication.item.record.offset == 0
    assert dict(publication.messages[0].headers)["headrace-error-message"] == b"away"


def test_waiting_for_room_is_not_held_against_the_store() -> None:
    engine = engine_with(*[reference(offset, 15_000) for offset in range(2)])
    (first,) = started(engine)
    finish(engine, first, 15_000)
    second = next(iter(engine.bodies.moves._fetches))
    second.failed_at_s, second.attempts = 0.0, 1
    assert started(engine, 1.0) == []
    engine.advance(10 * GIVE_UP_AFTER_S, EPOCH_MS)
    assert engine.counters.dead_letter_records == 0
    compute_all(engine, 10 * GIVE_UP_AFTER_S)
    (second_again,) = started(engine, 10 * GIVE_UP_AFTER_S)
    engine.bodies.failed(second_again, "away", 10 * GIVE_UP_AFTER_S, EPOCH_MS)
    assert engine.counters.dead_letter_records == 0


def test_a_deposit_of_a_lost_partition_is_let_go_when_its_time_is_over() -> None:
    engine = engine_with(record(0))
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    outcomes = Outcomes("replica-1", 64)
    outcomes.add(0, 200, body_of(3_000))
    engine.take_outcomes(call, outcomes, 0.0, EPOCH_MS)
    engine.end_call(call, "over", 0.0, EPOCH_MS)
    (deposit,) = started(engine)
    assert isinstance(deposit, Deposit)
    engine.bodies.failed(deposit, "away", 0.0, EPOCH_MS)
    engine.assign({})
    engine.advance(GIVE_UP_AFTER_S, EPOCH_MS)
    assert engine.held_records == engine.held_bytes == 0


def test_jobs_take_turns_at_the_store_by_weight() -> None:
    flood = [reference(n, 100, headers=[(JOB, b"flood")]) for n in range(300)]
    heavy: list[Header] = [(JOB, b"heavy"), (JOB_WEIGHT, b"3")]
    engine = engine_with(*flood, *(reference(300 + n, 100, headers=heavy) for n in range(100)))
    order: list[int] = []
    while moves := started(engine):
        for move in moves:
            assert isinstance(move, Fetch)
            order.append(move.item.record.offset)
            end_fetch(engine, move, body_of(100))
        while (call_and_chunk := engine.next_call(0.0, EPOCH_MS)) is not None:
            answer(*call_and_chunk, engine, now_s=0.0)
        publish_all(engine)
    assert sorted(order) == list(range(400))
    heavy_at = [place for place, offset in enumerate(order) if offset >= 300]
    assert heavy_at[-1] < 140
    assert [each for each in order if each < 300] == list(range(300))


def test_what_went_with_a_partition_costs_its_job_no_turns() -> None:
    job: list[Header] = [(JOB, b"a")]
    other: list[Header] = [(JOB, b"b")]
    engine = engine_with(*(reference(n, 100, headers=job) for n in range(300)))
    engine.suspend()
    engine.assign({P1: None})
    again = [reference(n, 100, headers=job if n % 2 else other) for n in range(100)]
    engine.deliver([each._replace(partition=P1) for each in again], 0.0, EPOCH_MS)
    order = []
    while moves := started(engine):
        for move in moves:
            order.append(move.item.record.offset)
            finish(engine, move, 100)
        compute_all(engine)
    assert sorted(order) == list(range(100))
    assert 15 <= sum(each % 2 for each in order[:40]) <= 25
