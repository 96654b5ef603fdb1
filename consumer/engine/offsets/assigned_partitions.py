"""The partitions assigned to this member, and the effect of a rebalance on each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from consumer.engine.offsets.completion_map import CompletionMapError
from consumer.engine.offsets.ledger import PartitionLedger
from consumer.engine.work import PartitionAssignment
from consumer.ports import OffsetAndMetadata, SourceError, TopicPartition

_SMALLEST_POLL_RECORDS = 64


@dataclass(slots=True)
class AssignmentChange:
    """The effect of a rebalance; ``kept`` partitions go on with their work.

    Attributes:
        fresh: They start from what the group has committed.
        lost: They went to another member, or came back after another one had committed.
        seeks: Where to read on, by partition; absent where the source starts by its own setting.
        unreadable: Why a committed completion map was ignored, by partition.
    """

    kept: list[TopicPartition] = field(default_factory=list)
    fresh: list[TopicPartition] = field(default_factory=list)
    lost: list[PartitionAssignment] = field(default_factory=list)
    seeks: dict[TopicPartition, int] = field(default_factory=dict)
    unreadable: dict[TopicPartition, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Allowance:
    """The partitions that may be polled now; ``is_restricted`` if an assigned one is left out."""

    partitions: list[TopicPartition]
    records: int
    is_restricted: bool


class AssignedPartitions:
    """The partitions assigned now, with a ledger each.

    An eager rebalance takes every partition away and gives most of them back. One is kept, with its
    work in flight, if the group has still committed what this member wrote: no other member can
    have completed anything in between, however many generations passed. Otherwise there was another
    owner, and the partition starts afresh from what that one committed. If its completion map
    cannot be read, ``may_repeat`` allows to go on from the offset alone.
    """

    def __init__(self, metadata_limit_characters: int, *, may_repeat: bool = True) -> None:
        self._may_repeat = may_repeat
        self._limit_characters = metadata_limit_characters
        self._assigned: dict[TopicPartition, PartitionAssignment] = {}

    def __iter__(self) -> Iterator[PartitionAssignment]:
        return iter(self._assigned.values())

    def __len__(self) -> int:
        return len(self._assigned)

    def get(self, partition: TopicPartition) -> PartitionAssignment | None:
        return self._assigned.get(partition)

    def change(
        self,
        committed: Mapping[TopicPartition, OffsetAndMetadata | None],
        log_ids: Mapping[TopicPartition, bytes],
    ) -> AssignmentChange:
        """Take over a new assignment; ``committed`` has every partition assigned now.

        ``SourceError`` means that a completion map cannot be read, and nothing may be repeated.
        """
        change = AssignmentChange()
        assigned: dict[TopicPartition, PartitionAssignment] = {}
        for partition, point in committed.items():
            earlier = self._assigned.get(partition)
            if earlier is not None and earlier.wrote(point):
                earlier.acknowledge(point)
                assigned[partition] = earlier
                change.kept.append(partition)
            else:
                log_id = log_ids.get(partition, b"")
                assigned[partition] = self._start(partition, point, log_id, change)
                change.fresh.append(partition)
            next_offset = assigned[partition].ledger.next_offset
            if next_offset is not None:
                change.seeks[partition] = next_offset
        for partition, earlier in self._assigned.items():
            if assigned.get(partition) is not earlier:
                earlier.revoked = True
                change.lost.append(earlier)
        self._assigned = assigned
        return change

    def drop(self, assignment: PartitionAssignment) -> bool:
        assignment.revoked = True
        is_assigned = self._assigned.get(assignment.partition) is assignment
        if is_assigned:
            del self._assigned[assignment.partition]
        return is_assigned

    def readable(self, most_records: int) -> Allowance:
        """Return the partitions that may be polled, for at most ``most_records``.

        A partition whose completion map could exceed the limit is left out until older records of
        it are complete.
        """
        partitions: list[TopicPartition] = []
        records = most_records
        for assignment in self._assigned.values():
            ledger = assignment.ledger
            room = records
            if ledger.next_offset is not None:
                smallest = min(records, _SMALLEST_POLL_RECORDS)
                while room >= smallest and not ledger.has_room(ledger.next_offset, room):
                    room //= 2
                if room < smallest:
                    continue
            partitions.append(assignment.partition)
            records = min(records, room)
        return Allowance(partitions, records, len(partitions) < len(self._assigned))

    def next_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        offsets = {}
        for partition in partitions:
            assignment = self._assigned.get(partition)
            if assignment is not None and assignment.ledger.next_offset is not None:
                offsets[partition] = assignment.ledger.next_offset
        return offsets

    def at_their_limit(self) -> dict[TopicPartition, int]:
        found: dict[TopicPartition, int] = {}
        for partition, assignment in self._assigned.items():
            ledger = assignment.ledger
            lowest = ledger.lowest_incomplete
            if lowest is None or ledger.next_offset is None:
                continue
            if not ledger.has_room(ledger.next_offset, _SMALLEST_POLL_RECORDS):
                found[partition] = lowest
        return found

    def has_offsets_to_commit(self) -> bool:
        return any(each.ledger.offset_and_metadata() not in (None, each.committed) for each in self)

    def offsets_and_metadata(self) -> dict[TopicPartition, OffsetAndMetadata]:
        points: dict[TopicPartition, OffsetAndMetadata] = {}
        for assignment in self._assigned.values():
            point = assignment.ledger.offset_and_metadata()
            if point is not None and point != assignment.committed:
                assignment.attempted.add(point)
                points[assignment.partition] = point
        return points

    def committed(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        for partition, point in points.items():
            assignment = self._assigned.get(partition)
            if assignment is not None and point in assignment.attempted:
                assignment.acknowledge(point)

    def _start(
        self,
        partition: TopicPartition,
        point: OffsetAndMetadata | None,
        log_id: bytes,
        change: AssignmentChange,
    ) -> PartitionAssignment:
        try:
            ledger = PartitionLedger(point, self._limit_characters, log_id)
        except CompletionMapError as error:
            if not self._may_repeat:
                raise SourceError(
                    f"{partition}: the committed completion map cannot be read ({error}), and "
                    "exactly_once repeats nothing: set the group's offset anew to say where to go "
                    "on, with `headrace offsets seek` or kafka-consumer-groups.sh --reset-offsets"
                ) from error
            # At-least-once goes on from the offset alone: some records may be repeated.
            change.unreadable[partition] = str(error)
            bare = None if point is None else OffsetAndMetadata(point.offset, "")
            ledger = PartitionLedger(bare, self._limit_characters, log_id)
        return PartitionAssignment(partition, ledger, committed=point)
