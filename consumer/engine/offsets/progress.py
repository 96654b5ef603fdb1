"""How far the assigned partitions are behind their logs, as of the last look at those."""

from collections.abc import Mapping
from dataclasses import dataclass

from consumer.engine.offsets.assigned_partitions import AssignedPartitions
from consumer.engine.work import PartitionAssignment
from consumer.ports import TopicPartition


@dataclass(frozen=True, slots=True)
class Backlog:
    """Sums over the assigned partitions; in offsets, so that counts are upper bounds.

    Attributes:
        lag_records: From the committed offset to the log's end.
        remaining_records: Those of them that are not complete.
        unread_s: How long, at least, the record that is read next somewhere has been there.
    """

    lag_records: int
    remaining_records: int
    unread_s: float


@dataclass(frozen=True, slots=True)
class _Log:
    end: int
    next_offset: int
    unread_since_s: float


class Progress:
    """Keeps where logs end; a partition without a newer answer keeps its last one."""

    def __init__(self, assigned: AssignedPartitions) -> None:
        self._assigned = assigned
        self._logs: dict[TopicPartition, _Log] = {}
        self._has_looked = False

    def note_log_ends(self, ends: Mapping[TopicPartition, int], now_s: float) -> None:
        """Take the ends of some logs; call it every few seconds."""
        self._has_looked = True
        logs: dict[TopicPartition, _Log] = {}
        for assignment in self._assigned:
            partition, next_offset = assignment.partition, assignment.ledger.next_offset
            before = self._logs.get(partition)
            end = ends.get(partition, None if before is None else before.end)
            if end is None or next_offset is None:
                continue
            is_same = before is not None and before.next_offset == next_offset < before.end
            since_s = before.unread_since_s if before is not None and is_same else now_s
            logs[partition] = _Log(end, next_offset, since_s)
        self._logs = logs

    def backlog(self, now_s: float) -> Backlog | None:
        """Return what is left; ``None`` before the first look.

        A partition counts from the first look after its assignment on.
        """
        if not self._has_looked:
            return None
        lag_records = remaining_records = 0
        unread_s = 0.0
        for assignment in self._assigned:
            log = self._logs.get(assignment.partition)
            if log is None:
                continue
            lag_records += max(0, log.end - _begin(assignment, log))
            remaining_records += assignment.ledger.remaining_records(log.end)
            if assignment.ledger.next_offset == log.next_offset < log.end:
                unread_s = max(unread_s, now_s - log.unread_since_s)
        return Backlog(lag_records, remaining_records, unread_s)

    @property
    def map_ratio(self) -> float:
        """How full the fullest completion map may get, of the most that it may have."""
        return max((each.ledger.map_ratio for each in self._assigned), default=0.0)

    @property
    def full_map_partitions(self) -> int:
        """Partitions that are not read until their oldest record is complete."""
        return len(self._assigned.at_their_limit())


def _begin(assignment: PartitionAssignment, log: _Log) -> int:
    if assignment.committed is not None:
        return assignment.committed.offset
    lowest = assignment.ledger.lowest_incomplete
    return log.next_offset if lowest is None else lowest
