"""Order by key and by partition: through retries, refusals, expiries, dead letters, hand-overs."""

import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.calls.key_queues import KeyQueues, Ordering
from consumer.engine.engine import Engine
from consumer.engine.offsets.ledger import PartitionLedger
from consumer.engine.record_state import RecordState
from consumer.engine.work import Call, PartitionAssignment, WorkItem
from consumer.ports import OffsetAndMetadata, Record
from handoff.chunk import Chunk, Outcomes
from tests.engines import (
    P0,
    P1,
    TOO_LARGE,
    answer,
    line,
    make_engine,
    next_call,
    publish_all,
    record,
    rejections_of,
)
from tests.simulation import EPOCH_MS


def offsets_of(chunk: Chunk) -> list[int]:
    return [int(orjson.loads(each)["custom_id"].split("-")[1]) for each in chunk.lines]


def published(engine: Engine) -> list[int]:
    return [each.item.record.offset for each in publish_all(engine)]


def assignment() -> PartitionAssignment:
    return PartitionAssignment(P0, PartitionLedger(None, 4096), committed=None)


def item(of: PartitionAssignment, offset: int, key: bytes | None) -> WorkItem:
    return WorkItem(of, record(offset, key=key), str(offset), None, 0.0, 100)


def test_the_next_of_a_key_goes_when_the_earlier_one_is_acknowledged_not_before() -> None:
    engine = make_engine(ordering="key")
    engine.assign({P0: None})
    engine.deliver([record(0, key=b"a"), record(1, key=b"a")], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert offsets_of(chunk) == [0]
    assert engine.queued_records == 1
    answer(call, chunk, engine)
    assert engine.next_call(1.0, EPOCH_MS) is None
    assert published(engine) == [0]
    _, chunk = next_call(engine, 1.0, EPOCH_MS)
    assert offsets_of(chunk) == [1]


def test_different_keys_and_records_without_one_go_together() -> None:
    engine = make_engine(ordering="key")
    engine.assign({P0: None, P1: None})
    keys = [b"a", b"b", None, b"a", None, b""]
    engine.deliver([record(offset, key=key) for offset, key in enumerate(keys)], 0.0, EPOCH_MS)
    engine.deliver([record(9, key=b"a", partition=P1)], 0.0, EPOCH_MS)
    _, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert offsets_of(chunk) == [0, 1, 2, 4, 5, 9]


def test_by_partition_one_record_of_each_is_on_its_way() -> None:
    engine = make_engine(ordering="partition")
    engine.assign({P0: None, P1: None})
    engine.deliver([record(offset) for offset in range(3)], 0.0, EPOCH_MS)
    engine.deliver([record(offset, partition=P1) for offset in range(3)], 0.0, EPOCH_MS)
    _, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert chunk.lines == [line("0-0"), line("1-0")]
    assert engine.next_call(0.0, EPOCH_MS) is None


def test_outcomes_known_already_wait_their_turn() -> None:
    engine = make_engine(ordering="key")
    engine.assign({P0: None})
    due = [("headrace-deadline", b"%d" % (EPOCH_MS + 500))]
    engine.deliver(
        [
            record(0, key=b"a"),
            record(1, b"no json", key=b"a"),
            record(2, line(url="/v1/other"), key=b"a"),
            record(3, key=b"a", headers=due),
            record(4, key=b"a"),
            record(5, b"no json", key=b"b"),
        ],
        0.0,
        EPOCH_MS,
    )
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    engine.advance(1.0, EPOCH_MS + 1_000)
    assert published(engine) == [5]
    answer(call, chunk, engine)
    order = []
    while now := published(engine):
        order += now
    assert order == [0, 1, 2, 3]
    _, chunk = next_call(engine, 1.0, EPOCH_MS)
    assert offsets_of(chunk) == [4]


def test_retries_of_the_earlier_one_block_the_later_ones() -> None:
    engine = make_engine(ordering="key", max_attempts=2)
    engine.assign({P0: None})
    engine.deliver([record(0, key=b"a"), record(1, key=b"a")], 0.0, EPOCH_MS)
    now_s = 0.0
    for _ in range(2):
        call, chunk = next_call(engine, now_s, EPOCH_MS)
        assert offsets_of(chunk) == [0]
        answer(call, chunk, engine, status=500, now_s=now_s)
        now_s += 20.0
        engine.advance(now_s, EPOCH_MS)
    assert engine.counters.dead_letter_records == 1
    assert engine.next_call(now_s, EPOCH_MS) is None
    assert published(engine) == [0]
    _, chunk = next_call(engine, now_s, EPOCH_MS)
    assert offsets_of(chunk) == [1]


def test_a_refused_message_holds_the_next_until_its_substitute_stands() -> None:
    engine = make_engine(ordering="key")
    engine.assign({P0: None})
    engine.deliver([record(0, key=b"a"), record(1, key=b"a")], 0.0, EPOCH_MS)
    answer(*next_call(engine, 0.0, EPOCH_MS), engine)
    (publication,) = engine.take_publications(10, 1 << 20)
    assert engine.rejected(publication, rejections_of(publication, TOO_LARGE), 1.0, EPOCH_MS)
    assert engine.next_call(1.0, EPOCH_MS) is None
    assert published(engine) == [0]
    assert engine.next_call(1.0, EPOCH_MS) is not None


def test_a_lost_partition_takes_what_it_held_with_it() -> None:
    engine = make_engine(ordering="key")
    engine.assign({P0: OffsetAndMetadata(0, ""), P1: None})
    engine.deliver(
        [record(0, key=b"a"), record(1, key=b"a"), record(2, b"no json", key=b"a")], 0.0, EPOCH_MS
    )
    engine.deliver([record(0, key=b"a", partition=P1)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    engine.suspend()
    engine.assign({P1: None})
    assert engine.queued_records == 0
    answer(call, chunk, engine)
    assert [each.item.record.partition for each in publish_all(engine)] == [P1]
    assert engine.held_records == engine.held_bytes == 0
    engine.suspend()
    engine.assign({P0: OffsetAndMetadata(0, ""), P1: OffsetAndMetadata(1, "")})
    engine.deliver([record(0, key=b"a"), record(1, key=b"a")], 2.0, EPOCH_MS)
    _, chunk = next_call(engine, 2.0, EPOCH_MS)
    assert offsets_of(chunk) == [0]


def test_a_clean_stop_leaves_what_is_held_to_the_next_owner() -> None:
    engine = make_engine(ordering="key")
    engine.assign({P0: OffsetAndMetadata(0, "")})
    engine.deliver(
        [record(0, key=b"a"), record(1, key=b"a"), record(2, b"no json", key=b"a")], 0.0, EPOCH_MS
    )
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    engine.stop_intake()
    answer(call, chunk, engine)
    assert published(engine) == [0]
    assert not engine.has_publications
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(1, "")}
    assert engine.held_records == engine.held_bytes == 0


def test_a_backlog_of_one_key_goes_one_by_one_and_nothing_is_left_over() -> None:
    engine = make_engine(ordering="key", max_records=20_000, max_bytes=1 << 30)
    engine.assign({P0: None})
    engine.deliver([record(offset, key=b"a") for offset in range(16_384)], 0.0, EPOCH_MS)
    for offset in range(16_384):
        call, chunk = next_call(engine, 0.0, EPOCH_MS)
        assert offsets_of(chunk) == [offset]
        answer(call, chunk, engine)
        publish_all(engine)
    assert engine.queued_records == engine.held_records == 0
    assert not any(queues.last for queues in engine.backlog.key_queues._assignments.values())


def test_many_keys_still_go_in_full_chunks() -> None:
    engine = make_engine(ordering="key", max_records=20_000, max_bytes=1 << 30, chunk_records=256)
    engine.assign({P0: None})
    records = [record(offset, key=b"%d" % (offset % 512)) for offset in range(8_192)]
    engine.deliver(records, 0.0, EPOCH_MS)
    sizes = []
    while engine.held_records:
        while (call := engine.next_call(0.0, EPOCH_MS)) is not None:
            sizes.append(len(call[1].lines))
            answer(*call, engine)
        publish_all(engine)
    assert sum(size == 32 for size in sizes) > 250


@given(st.lists(st.sampled_from([b"a", b"b", b"c", None]), max_size=60), st.randoms())
def test_of_each_key_one_is_out_and_they_come_in_order(
    keys: list[bytes | None], randomly: random.Random
) -> None:
    queues = KeyQueues("key")
    of = assignment()
    out: list[WorkItem] = []
    finished: dict[bytes, list[int]] = {}
    for offset, key in enumerate(keys):
        entered = item(of, offset, key)
        queues.enter(entered)
        if entered.state is not RecordState.BLOCKED:
            out.append(entered)
        if out and randomly.random() < 0.5:
            _finish(queues, out, finished, randomly)
    while out:
        _finish(queues, out, finished, randomly)
    assert all(offsets == sorted(offsets) for offsets in finished.values())
    assert sum(map(len, finished.values())) == sum(key is not None for key in keys)
    assert queues.blocked_records == 0
    assert not queues.blocked()


def _finish(
    queues: KeyQueues,
    out: list[WorkItem],
    finished: dict[bytes, list[int]],
    randomly: random.Random,
) -> None:
    in_flight = [each.record.key for each in out if each.record.key is not None]
    assert len(in_flight) == len(set(in_flight))
    done = out.pop(randomly.randrange(len(out)))
    if done.record.key is not None:
        finished.setdefault(done.record.key, []).append(done.record.offset)
    unblocked = queues.leave(done)
    if unblocked is not None:
        out.append(unblocked)


@pytest.mark.parametrize("ordering", ["key", "partition"])
@pytest.mark.parametrize("seed", range(12))
def test_whatever_befalls_them_results_of_a_key_stand_in_order(
    ordering: Ordering, seed: int
) -> None:
    """Random failures, and owners that die between any two steps and take over from a commit."""
    randomly = random.Random(seed)
    records = []
    for offset in range(120):
        value = None if randomly.random() < 0.8 else b"no json"
        records.append(record(offset, value, key=b"%d" % randomly.randrange(6)))
    topic: list[int] = []
    committed = OffsetAndMetadata(0, "")
    engine, now_s = None, 0.0
    for _ in range(20_000):
        if engine is None or randomly.random() < 0.004:
            engine = make_engine(ordering=ordering, max_attempts=2, chunk_records=8)
            (start,) = engine.assign({P0: committed}).seeks.values()
            calls: list[tuple[Call, Chunk]] = []
            engine.deliver(records[start:], now_s, EPOCH_MS)
        engine.advance(now_s, EPOCH_MS)
        if (call := engine.next_call(now_s, EPOCH_MS)) is not None:
            calls.append(call)
            keys = [_key(records[offset], ordering) for _, c in calls for offset in offsets_of(c)]
            assert len(keys) == len(set(keys))
        elif calls:
            _answer_somehow(engine, *calls.pop(randomly.randrange(len(calls))), now_s, randomly)
        else:
            now_s += max(engine.next_due_in_s(now_s, EPOCH_MS) or 0.0, 0.001)
        for publication in engine.take_publications(randomly.randint(1, 3), 1 << 40):
            topic.append(publication.record.offset)
            if randomly.random() < 0.95:
                engine.acknowledged([publication])
            else:  # it stands on the topic, and its owner dies before it knows
                engine = None
                break
        if engine is not None and randomly.random() < 0.1:
            points = engine.offsets_and_metadata()
            engine.committed(points)
            committed = points.get(P0, committed)
        if committed == OffsetAndMetadata(120, ""):
            break
    assert committed.offset == 120
    first_seen = list(dict.fromkeys(topic))
    assert sorted(first_seen) == list(range(120))
    keys_seen: dict[bytes | None, list[int]] = {}
    for offset in first_seen:
        keys_seen.setdefault(_key(records[offset], ordering), []).append(offset)
    assert all(offsets == sorted(offsets) for offsets in keys_seen.values())


def _key(of: Record, ordering: Ordering) -> bytes | None:
    return of.key if ordering == "key" else b""


def _answer_somehow(
    engine: Engine, call: Call, chunk: Chunk, now_s: float, randomly: random.Random
) -> None:
    outcomes = Outcomes("replica-1", 64)
    for index in range(len(chunk.lines)):
        if randomly.random() < 0.9:
            outcomes.add(index, randomly.choice([200, 200, 400, 500, 503]), b"{}")
    engine.take_outcomes(call, outcomes, now_s, EPOCH_MS)
    engine.end_call(call, "lost", now_s, EPOCH_MS)


def test_what_can_run_side_by_side_is_counted_under_an_order_only() -> None:
    by_partition, unordered = make_engine(ordering="partition"), make_engine()
    for engine in (by_partition, unordered):
        engine.assign({P0: None, P1: None})
        engine.deliver([record(offset, key=b"a") for offset in range(9)], 0.0, EPOCH_MS)
        next_call(engine, 0.0, EPOCH_MS)

    assert by_partition.runnable_records == 1
    assert unordered.runnable_records is None
    assert by_partition.reads_on
