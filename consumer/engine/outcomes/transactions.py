"""Exactly-once: which outcomes and which progress go into one transaction."""

from collections.abc import Collection
from dataclasses import dataclass

from consumer.engine.offsets.assigned_partitions import AssignedPartitions
from consumer.engine.outcomes.outbox import Outbox
from consumer.engine.work import PartitionAssignment, WorkItem
from consumer.ports import OffsetAndMetadata, TopicPartition


@dataclass(frozen=True, eq=False, slots=True)
class Transaction:
    """Outcomes of one input partition, if any, and its progress once they are published."""

    assignment: PartitionAssignment
    items: list[WorkItem]
    point: OffsetAndMetadata

    @property
    def partition(self) -> TopicPartition:
        return self.assignment.partition


class Transactions:
    """Forms transactions, at most one at a time for each partition.

    Only its transactions, one after the other, commit a partition's progress. So each commit can be
    computed ahead, as if its outcomes were already acknowledged.
    """

    def __init__(self, held: AssignedPartitions, outbox: Outbox) -> None:
        self._held = held
        self._outbox = outbox
        self._under_way: set[PartitionAssignment] = set()

    def partitions_due(self, *, even_without_outcomes: bool) -> list[TopicPartition]:
        """Return the partitions for which ``begin`` has something.

        None between a revoke and the next assignment: a partition may be another member's then, and
        neither progress nor outcomes may be published for it.
        """
        if self._outbox.is_held:
            return []
        return [
            each.partition
            for each in self._held
            if each not in self._under_way
            and (
                self._outbox.publishable_records(each)
                or (even_without_outcomes and self._moved(each) is not None)
            )
        ]

    def begin(
        self, partition: TopicPartition, most_records: int, most_bytes: int
    ) -> Transaction | None:
        """Form the next transaction of one of ``partitions_due``; ``most_bytes`` is approximate."""
        assignment = self._held.get(partition)
        if assignment is None or assignment in self._under_way:
            return None
        items: list[WorkItem] = []
        size_bytes = 0
        room = min(most_records, self._outbox.publishable_records(assignment))
        while len(items) < room and size_bytes < most_bytes:
            item = self._outbox.take_of(assignment)
            size_bytes += item.held_bytes
            items.append(item)
        point = assignment.ledger.offset_and_metadata({item.record.offset for item in items})
        if point is None or (not items and point == assignment.committed):
            return None
        assignment.attempted.add(point)
        self._under_way.add(assignment)
        return Transaction(assignment, items, point)

    def committed(self, transaction: Transaction) -> None:
        self._under_way.discard(transaction.assignment)
        transaction.assignment.acknowledge(transaction.point)

    def aborted(self, transaction: Transaction, parked: Collection[WorkItem] = ()) -> None:
        """Nothing of it was published: its outcomes wait again, ``parked`` ones elsewhere."""
        assignment = transaction.assignment
        self._under_way.discard(assignment)
        assignment.attempted.discard(transaction.point)
        items = transaction.items
        self._outbox.put_back([each for each in items if each not in parked] if parked else items)

    def _moved(self, assignment: PartitionAssignment) -> OffsetAndMetadata | None:
        point = assignment.ledger.offset_and_metadata()
        return None if point == assignment.committed else point
