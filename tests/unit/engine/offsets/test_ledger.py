"""The ledger against a plain set as its model."""

from random import Random

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consumer.engine.offsets.completion_map import CompletionMap, decode, encode
from consumer.engine.offsets.ledger import Delivery, PartitionLedger
from consumer.ports import OffsetAndMetadata

LIMIT = 4096


def done_by(point: OffsetAndMetadata | None, offset: int) -> bool:
    """Say whether a committed point covers ``offset``: what a new owner would skip."""
    if point is None:
        return False
    if offset < point.offset:
        return True
    restored = decode(*point)
    if restored is None or offset > restored.highest_completed:
        return False
    return offset != point.offset and offset not in restored.incomplete


class LedgerMachine(RuleBasedStateMachine):
    """A log with gaps, delivered, completed in any order, handed over to new owners."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []
        self.next_new = 0
        self.acknowledged: set[int] = set()
        self.ledger = PartitionLedger(None, LIMIT)
        self.in_flight: set[int] = set()
        self.committed: OffsetAndMetadata | None = None
        self.known: set[int] = set()

    @rule(gap=st.integers(0, 50), records=st.integers(1, 20))
    def produce(self, gap: int, records: int) -> None:
        start = self.next_new + gap
        self.log.extend(range(start, start + records))
        self.next_new = start + records

    @rule(most=st.integers(1, 30))
    def poll(self, most: int) -> None:
        position = self.ledger.next_offset or 0
        for offset in [each for each in self.log if each >= position][:most]:
            delivery = self.ledger.deliver(offset)
            if delivery is Delivery.ADMITTED:
                assert not done_by(self.committed, offset)
                self.in_flight.add(offset)
            elif delivery is Delivery.ALREADY_DONE:
                assert offset in self.acknowledged

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.in_flight)))
        self.in_flight.discard(offset)
        self.acknowledged.add(offset)
        self.known.add(offset)
        self.ledger.complete(offset)

    @rule()
    def commit(self) -> None:
        self.committed = self.ledger.offset_and_metadata()

    @rule()
    def hand_over(self) -> None:
        """Another member takes the partition; what was in flight is dropped."""
        self.ledger = PartitionLedger(self.committed, LIMIT)
        self.in_flight.clear()
        self.known = {offset for offset in self.acknowledged if done_by(self.committed, offset)}

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        """Retention or compaction deletes a record."""
        offset = data.draw(st.sampled_from(self.log))
        self.log.remove(offset)

    @rule()
    def pass_over_the_end(self) -> None:
        position = self.ledger.next_offset or 0
        if not any(offset >= position for offset in self.log):
            self.ledger.pass_over(self.next_new)

    @invariant()
    def nothing_unacknowledged_is_covered(self) -> None:
        point = self.ledger.offset_and_metadata()
        for offset in self.log:
            if offset not in self.acknowledged:
                assert not done_by(point, offset)

    @invariant()
    def everything_this_owner_knows_to_be_done_is_covered(self) -> None:
        point = self.ledger.offset_and_metadata()
        assert all(done_by(point, offset) for offset in self.known)

    @invariant()
    def the_map_fits(self) -> None:
        point = self.ledger.offset_and_metadata()
        assert point is None or len(point.metadata) <= LIMIT


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40)


def test_the_committed_offset_is_the_lowest_incomplete_one() -> None:
    ledger = PartitionLedger(None, LIMIT)
    for offset in range(10):
        ledger.deliver(offset)
    for offset in (0, 1, 4, 9):
        ledger.complete(offset)
    point = ledger.offset_and_metadata()
    assert point is not None
    assert point.offset == 2
    restored = decode(*point)
    assert restored is not None
    assert restored.highest_completed == 9
    assert restored.incomplete == (3, 5, 6, 7, 8)


def test_one_stuck_record_does_not_stop_a_million_behind_it() -> None:
    ledger = PartitionLedger(None, LIMIT)
    ledger.deliver(0)
    for offset in range(1, 1_000_001):
        assert ledger.deliver(offset) is Delivery.ADMITTED
        ledger.complete(offset)
    point = ledger.offset_and_metadata()
    assert point is not None
    assert point.offset == 0
    assert len(point.metadata) < 40
    assert len(ledger._order) < 200


@given(st.integers(256, 4096))
def test_admission_stops_before_the_map_could_outgrow_its_limit(limit: int) -> None:
    ledger = PartitionLedger(None, limit)
    offset = 0
    while ledger.deliver(offset) is Delivery.ADMITTED:
        offset += 997
        assert offset < 997 * 10_000
    # The worst that can happen now: all but the lowest complete from the top, one by one.
    delivered = list(range(0, offset, 997))
    for done in reversed(delivered[1:]):
        ledger.complete(done)
        if done % 7 == 0:
            point = ledger.offset_and_metadata()
            assert point is not None
            assert len(point.metadata) <= limit
    assert ledger.deliver(offset) is Delivery.ADMITTED


@given(st.integers(64, 512), st.lists(st.tuples(st.integers(1, 300), st.booleans()), max_size=200))
def test_room_is_judged_as_if_it_were_reckoned_for_each_record(
    limit: int, steps: list[tuple[int, bool]]
) -> None:
    ledger = PartitionLedger(OffsetAndMetadata(0, ""), limit)
    offset = 0
    open_offsets: list[int] = []
    for step, completes in steps:
        if completes and open_offsets:
            ledger.complete(open_offsets.pop(step % len(open_offsets)))
            continue
        offset += step if step > 250 else 1
        has_room = ledger.has_room(offset, 1)
        assert (ledger.deliver(offset) is Delivery.ADMITTED) is has_room
        if has_room:
            open_offsets.append(offset)


def test_records_that_vanished_while_incomplete_do_not_hold_the_offset_back() -> None:
    first = PartitionLedger(None, LIMIT)
    for offset in range(5):
        first.deliver(offset)
    for offset in (1, 3, 4):
        first.complete(offset)
    second = PartitionLedger(first.offset_and_metadata(), LIMIT)
    assert second.deliver(1) is Delivery.ALREADY_DONE  # 0 has expired since
    assert second.deliver(2) is Delivery.ADMITTED
    second.complete(2)
    assert second.offset_and_metadata() == OffsetAndMetadata(5, "")


def test_markers_at_the_end_are_passed_over() -> None:
    ledger = PartitionLedger(OffsetAndMetadata(7, ""), LIMIT)
    assert ledger.deliver(7) is Delivery.ADMITTED
    ledger.complete(7)
    ledger.pass_over(9)
    assert ledger.offset_and_metadata() == OffsetAndMetadata(9, "")


def test_where_reading_began_is_committed_though_nothing_has_come() -> None:
    ledger = PartitionLedger(None, LIMIT)
    ledger.pass_over(40)
    assert ledger.offset_and_metadata() == OffsetAndMetadata(40, "")


@given(
    st.integers(256, 1024),
    st.lists(st.tuples(st.integers(1, 400), st.integers(0, 9), st.booleans()), max_size=300),
    st.randoms(),
)
def test_failures_never_make_the_map_outgrow_its_limit(
    limit: int, records: list[tuple[int, int, bool]], randomly: Random
) -> None:
    ledger = PartitionLedger(None, limit)
    offset = 0
    delivered: list[int] = []
    for gap, strikes, completes in records:
        offset += gap
        if ledger.deliver(offset) is not Delivery.ADMITTED:
            break
        delivered.append(offset)
        ledger.failed(offset, strikes + 1, strikes)
        if completes:
            ledger.complete(delivered.pop(randomly.randrange(len(delivered))))
        point = ledger.offset_and_metadata()
        assert point is not None
        assert len(point.metadata) <= limit


def test_what_a_record_went_through_is_known_to_the_next_owner() -> None:
    first = PartitionLedger(None, LIMIT)
    for offset in range(10):
        first.deliver(offset)
    first.failed(3, 4, 2)
    first.failed(4, 1, 1)
    first.failed(9, 2, 1)
    for offset in (0, 1, 2, 4, 7):
        first.complete(offset)
    second = PartitionLedger(first.offset_and_metadata(), LIMIT)
    assert [second.failures_of(offset) for offset in (3, 4, 5, 9)] == [
        (3, 4, 2),
        None,
        None,
        (9, 2, 1),
    ]
    # Handed on before they were all delivered again.
    second.deliver(3)
    third = PartitionLedger(second.offset_and_metadata(), LIMIT)
    assert third.failures_of(3) == (3, 4, 2)
    assert third.failures_of(9) == (9, 2, 1)


def test_failures_of_finished_and_vanished_records_are_forgotten() -> None:
    first = PartitionLedger(None, LIMIT)
    for offset in range(3):
        first.deliver(offset)
        first.failed(offset, 1, 1)
    second = PartitionLedger(first.offset_and_metadata(), LIMIT)
    assert second.deliver(1) is Delivery.ADMITTED  # 0 has expired since
    second.complete(1)
    second.pass_over(3)  # and so has 2
    assert second.offset_and_metadata() == OffsetAndMetadata(3, "")


def test_a_strike_alone_is_something_to_commit() -> None:
    ledger = PartitionLedger(OffsetAndMetadata(5, ""), LIMIT)
    ledger.deliver(5)
    before = ledger.offset_and_metadata()
    ledger.failed(5, 1, 1)
    after = ledger.offset_and_metadata()
    assert before == OffsetAndMetadata(5, "")
    assert after is not None
    assert after != before
    assert after.offset == 5
    assert PartitionLedger(after, LIMIT).deliver(5) is Delivery.ADMITTED


def test_what_retention_deletes_before_it_was_handed_out_is_counted_once() -> None:
    ledger = PartitionLedger(OffsetAndMetadata(10, ""), LIMIT)

    assert ledger.expire(10) == 0
    assert ledger.expire(25) == 15
    assert ledger.expire(25) == 0
    assert ledger.offset_and_metadata() == OffsetAndMetadata(25, "")


def test_what_an_earlier_owner_had_completed_is_not_lost_to_retention() -> None:
    done_but_two = encode(10, CompletionMap(20, (15,)))
    ledger = PartitionLedger(OffsetAndMetadata(10, done_but_two), LIMIT)

    # 10, 15, and 21 to 24.
    assert ledger.expire(25) == 6


def test_what_was_handed_out_is_not_lost_to_retention() -> None:
    ledger = PartitionLedger(OffsetAndMetadata(0, ""), LIMIT)
    for offset in range(5):
        ledger.deliver(offset)

    assert ledger.expire(5) == 0
    assert ledger.incomplete_records == 5


def test_the_log_is_committed_with_its_offsets_even_where_nothing_is_above() -> None:
    ledger = PartitionLedger(OffsetAndMetadata(10, ""), LIMIT, b"logA")
    point = ledger.offset_and_metadata()

    assert point is not None
    assert point.offset == 10
    assert decode(*point) == CompletionMap(10, log_id=b"logA")
    restored = PartitionLedger(point, LIMIT, b"logA")
    assert restored.offset_and_metadata() == point
    assert restored.deliver(10) is Delivery.ADMITTED
