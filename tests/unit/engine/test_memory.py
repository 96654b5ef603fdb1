"""What an engine keeps alive is what admission counts, and a fixed amount for each record held."""

import random
from collections.abc import Iterable

import orjson
import pytest

from consumer.engine.bodies.moves import (
    ClaimCheckPolicy,
    Deposit,
    Fetch,
)
from consumer.engine.calls.key_queues import Ordering
from consumer.engine.engine import Engine
from consumer.engine.work import Call
from consumer.ports import OffsetAndMetadata, Record
from handoff.chunk import Chunk, Outcomes
from schemas.wire.headers import DEADLINE
from schemas.wire.references import BodyReference
from tests.engines import (
    P0,
    P1,
    PREFIX,
    URL,
    answer,
    end_fetch,
    line,
    make_engine,
    next_call,
    publish_all,
)
from tests.engines import record as make_record
from tests.reachable import reachable_bytes
from tests.simulation import EPOCH_MS

IN_AN_HOUR = (DEADLINE, b"%d" % (EPOCH_MS + 3_600_000))
POLICY = ClaimCheckPolicy(
    over_bytes=3_000, message_limit_bytes=1 << 30, max_object_bytes=1 << 20, give_up_after_s=300.0
)
OWN_BYTES_PER_RECORD = 400
FIXED_BYTES = 20_000


def large_line(offset: int, size_bytes: int = 5_000) -> bytes:
    return line(f"r{offset}", body={"input": "x" * size_bytes})


def assert_bounded(engine: Engine, calls: Iterable[Call] = ()) -> None:
    """Hold what is kept to what is counted."""
    own_bytes = FIXED_BYTES + OWN_BYTES_PER_RECORD * engine.held_records
    assert reachable_bytes([engine, *calls]) <= engine.held_bytes + own_bytes


def test_deadlines_keep_no_payload_of_what_is_answered() -> None:
    engine = make_engine(max_request_bytes=100_000)
    engine.assign({P0: None})
    for offset in range(1_000):
        value = large_line(offset)
        engine.deliver([make_record(offset, value, headers=[IN_AN_HOUR])], 1.0, EPOCH_MS)
        answer(*next_call(engine, 1.0, EPOCH_MS), engine)
        publish_all(engine)
    assert engine.held_records == engine.held_bytes == 0
    assert_bounded(engine)


def test_headers_count_as_the_rest_of_a_record_does() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    value = line("a")
    headers = [("note", b"x" * 900_000)]
    engine.deliver([make_record(0, value, key=b"key", headers=headers)], 1.0, EPOCH_MS)
    assert engine.held_bytes == len(value) + 3 + 4 + 900_000


def test_a_fetched_body_goes_when_the_outcome_is_decided() -> None:
    engine = make_engine(claim_check=POLICY)
    engine.assign({P0: None})
    body = orjson.dumps({"input": "x" * 100_000})
    for offset in range(100):
        engine.deliver([reference(offset, None)], 1.0, EPOCH_MS)
        while (move := engine.bodies.moves.next_move(1.0)) is not None:
            assert isinstance(move, Fetch)
            end_fetch(engine, move, body, 1.0)
        answer(*next_call(engine, 1.0, EPOCH_MS), engine)
        assert engine.held_bytes < 1_000
        publish_all(engine)
    assert_bounded(engine)


def test_a_call_keeps_what_it_still_computes_and_nothing_else() -> None:
    engine = make_engine(max_request_bytes=100_000, chunk_records=16)
    engine.assign({P0: None})
    engine.deliver([make_record(n, large_line(n)) for n in range(16)], 1.0, EPOCH_MS)
    call, _ = next_call(engine, 1.0, EPOCH_MS)
    outcomes = Outcomes("replica-1", 256)
    for index in range(call.records - 1):
        outcomes.add(index, 200, b"{}")
    engine.take_outcomes(call, outcomes, 1.0, EPOCH_MS)
    publish_all(engine)
    engine.stop_intake()
    assert engine.held_records == 1
    assert engine.held_bytes < 6_000
    assert_bounded(engine, [call])


@pytest.mark.parametrize("ordering", ["none", "key", "partition"])
@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_what_is_kept_is_what_is_counted(ordering: Ordering, seed: int) -> None:
    randomly = random.Random(seed)
    engine = make_engine(
        ordering=ordering,
        max_bytes=400_000,
        max_request_bytes=9_000,
        max_result_bytes=9_000,
        chunk_records=16,
        max_attempts=2,
        claim_check=POLICY,
    )
    engine.assign({P0: OffsetAndMetadata(0, ""), P1: None})
    calls: list[tuple[Call, Chunk]] = []
    next_offset = dict.fromkeys((P0, P1), 0)
    now_s = 0.0
    for step in range(400):
        now_s += randomly.uniform(0.0, 2.0)
        epoch_ms = EPOCH_MS + int(now_s * 1000)
        engine.advance(now_s, epoch_ms)
        for partition in engine.allowance().partitions:
            offset = next_offset[partition]
            records = [
                some_record(offset + n, randomly, epoch_ms)._replace(partition=partition)
                for n in range(randomly.randrange(8))
            ]
            next_offset[partition] += len(records)
            engine.deliver(records, now_s, epoch_ms)
        while (call := engine.next_call(now_s, epoch_ms)) is not None:
            calls.append(call)
        for _ in range(randomly.randrange(3)):
            if calls:
                answer_some(engine, *calls[randomly.randrange(len(calls))], now_s, randomly)
        if calls and randomly.random() < 0.5:
            call = calls.pop(randomly.randrange(len(calls)))
            engine.end_call(call[0], "lost", now_s, epoch_ms)
        move_some(engine, now_s, randomly)
        if randomly.random() < 0.7:
            publish_all(engine)
        if step % 100 == 99:  # P0 goes to another member and comes back
            engine.assign({P1: None})
            engine.assign({P0: OffsetAndMetadata(next_offset[P0], ""), P1: None})
        if step % 20 == 0:
            assert_bounded(engine, [each for each, _ in calls])
    for call in calls:
        engine.end_call(call[0], "lost", now_s, EPOCH_MS)
    assert_bounded(engine)


def reference(offset: int, size_bytes: int | None) -> Record:
    size = {} if size_bytes is None else {"size_bytes": size_bytes}
    body_ref = {"url": f"{PREFIX}/{offset}"} | size
    value = orjson.dumps({"custom_id": f"r{offset}", "url": URL, "body_ref": body_ref})
    return make_record(offset, value)


def some_record(offset: int, randomly: random.Random, epoch_ms: int) -> Record:
    kind = randomly.randrange(6)
    if kind == 0:
        made = make_record(offset, b"no json" * 500)
    elif kind == 1:
        made = reference(offset, randomly.choice([None, 20_000]))
    else:
        made = make_record(offset, large_line(offset, randomly.randrange(8_000)))
    headers = [("note", b"x" * randomly.randrange(2_000))]
    if randomly.random() < 0.7:
        deadline_ms = epoch_ms + randomly.choice([5_000, 3_600_000])
        headers.append((DEADLINE, b"%d" % deadline_ms))
    return made._replace(key=b"%d" % randomly.randrange(5), headers=headers)


def answer_some(
    engine: Engine, call: Call, chunk: Chunk, now_s: float, randomly: random.Random
) -> None:
    outcomes = Outcomes("replica-1", 64)
    for index in range(len(chunk.lines)):
        if randomly.random() < 0.5:
            body = b'{"a":"%s"}' % (b"x" * randomly.choice([10, 2_000, 5_000]))
            outcomes.add(index, randomly.choice([200, 200, 200, 400, 500]), body)
    engine.take_outcomes(call, outcomes, now_s, EPOCH_MS)


def move_some(engine: Engine, now_s: float, randomly: random.Random) -> None:
    while (move := engine.bodies.moves.next_move(now_s)) is not None:
        if randomly.random() < 0.2:
            engine.bodies.failed(move, "away", now_s, EPOCH_MS)
        elif isinstance(move, Deposit):
            stored = BodyReference(url="s3://b/r", size_bytes=1, sha256="0" * 64)
            engine.bodies.deposited(move, stored, now_s)
        else:
            end_fetch(engine, move, orjson.dumps({"input": "x" * 19_988}), now_s)
