"""How far partitions are behind, by what was read, what is complete and where logs end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.offsets.assigned_partitions import AssignedPartitions
from consumer.engine.offsets.ledger import Delivery, PartitionLedger
from consumer.engine.offsets.progress import Backlog, Progress
from consumer.ports import OffsetAndMetadata
from tests.engines import P0, P1

LIMIT_CHARACTERS = 4096
NOTHING = Backlog(0, 0, 0.0)


def assigned(*partitions: tuple[object, OffsetAndMetadata | None]) -> AssignedPartitions:
    found = AssignedPartitions(LIMIT_CHARACTERS)
    found.change(dict(partitions), {})  # type: ignore[arg-type]
    return found


def ledger_of(partitions: AssignedPartitions, place: object = P0) -> PartitionLedger:
    assignment = partitions.get(place)  # type: ignore[arg-type]
    assert assignment is not None
    return assignment.ledger


def test_records_out_of_order_make_the_committed_lag_larger_than_what_is_left() -> None:
    partitions = assigned((P0, OffsetAndMetadata(10, "")))
    ledger, progress = ledger_of(partitions), Progress(partitions)
    for offset in range(10, 20):
        assert ledger.deliver(offset) is Delivery.ADMITTED
    for offset in range(11, 20):
        ledger.complete(offset)
    progress.note_log_ends({P0: 25}, 100.0)
    assert progress.backlog(100.0) == Backlog(lag_records=15, remaining_records=6, unread_s=0.0)


def test_nothing_is_known_before_a_look_and_of_partitions_that_are_not_assigned() -> None:
    partitions = assigned((P0, OffsetAndMetadata(0, "")))
    progress = Progress(partitions)
    assert progress.backlog(0.0) is None
    progress.note_log_ends({P1: 10}, 0.0)
    assert progress.backlog(0.0) == NOTHING
    progress.note_log_ends({P0: 3}, 0.0)
    # Without an answer the last one stands.
    progress.note_log_ends({}, 1.0)
    assert progress.backlog(1.0) == Backlog(3, 3, unread_s=1.0)
    # A lost partition is the next owner's at once, and what came counts when it is looked at.
    partitions.change({P1: OffsetAndMetadata(0, "")}, {})
    assert progress.backlog(1.0) == NOTHING
    progress.note_log_ends({P1: 10}, 5.0)
    assert progress.backlog(5.0) == Backlog(10, 10, unread_s=0.0)


def test_a_group_without_a_commit_is_behind_from_where_it_began() -> None:
    partitions = assigned((P0, None))
    ledger, progress = ledger_of(partitions), Progress(partitions)
    progress.note_log_ends({P0: 9}, 0.0)
    assert progress.backlog(0.0) == NOTHING
    ledger.deliver(5)
    ledger.deliver(6)
    ledger.complete(5)
    progress.note_log_ends({P0: 9}, 0.0)
    assert progress.backlog(0.0) == Backlog(lag_records=3, remaining_records=3, unread_s=0.0)


def test_what_is_not_read_waits_until_reading_goes_on() -> None:
    partitions = assigned((P0, OffsetAndMetadata(0, "")), (P1, OffsetAndMetadata(0, "")))
    progress = Progress(partitions)
    for now_s in (0.0, 5.0, 10.0):
        progress.note_log_ends({P0: 4, P1: 0}, now_s)
    found = progress.backlog(12.0)
    assert found is not None
    assert found.unread_s == 12.0
    ledger_of(partitions).deliver(0)
    found = progress.backlog(13.0)
    assert found is not None
    assert found.unread_s == 0.0
    progress.note_log_ends({P0: 4, P1: 1}, 20.0)
    found = progress.backlog(26.0)
    assert found is not None
    assert found.unread_s == 6.0


@given(
    end=st.integers(0, 60),
    delivered=st.integers(0, 60),
    complete=st.sets(st.integers(0, 59)),
    committed=st.integers(0, 60),
)
def test_what_is_left_is_never_more_than_the_committed_lag_and_counts_each_offset_once(
    end: int, delivered: int, complete: set[int], committed: int
) -> None:
    before = PartitionLedger(OffsetAndMetadata(0, ""), LIMIT_CHARACTERS)
    for offset in range(delivered):
        before.deliver(offset)
    for offset in complete:
        before.complete(offset)
    done = {offset for offset in complete if offset < delivered}
    assert before.remaining_records(max(end, delivered)) == max(end, delivered) - len(done)
    # The next owner knows as much by the completion map alone.
    point = before.offset_and_metadata()
    assert point is not None
    after = PartitionLedger(point, LIMIT_CHARACTERS)
    log_end = max(end, delivered)
    assert after.remaining_records(log_end) == before.remaining_records(log_end)
    assert after.remaining_records(log_end) <= log_end - point.offset
    for offset in range(point.offset, min(committed, log_end)):
        after.deliver(offset)
    assert after.remaining_records(log_end) == before.remaining_records(log_end)


def test_the_map_fills_up_to_its_limit_and_then_the_partition_is_not_read() -> None:
    partitions = AssignedPartitions(200)
    partitions.change({P0: OffsetAndMetadata(0, "")}, {})
    ledger, progress = ledger_of(partitions), Progress(partitions)
    assert progress.map_ratio == 0.0
    ratios = []
    offset = 0
    while ledger.deliver(offset) is Delivery.ADMITTED:
        offset += 1
        ratios.append(progress.map_ratio)
    assert ratios == sorted(ratios)
    assert 0.8 < ratios[-1] <= 1.0
    assert progress.full_map_partitions == 1
    for done in range(offset):
        ledger.complete(done)
    assert progress.map_ratio == pytest.approx(0.0)
    assert progress.full_map_partitions == 0
