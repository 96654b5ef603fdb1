"""Order by key or by partition: which record waits until an earlier one is complete.

A record leaves its key queue when its outcome is acknowledged, not when it is decided: the broker
may refuse it and accept a smaller one later, two batches may be in transit at once, and a crash
between two publications must not leave only the later one on the topic. One record of a key queue
is processed at a time, so its results are in order whatever fails, and the completion map covers a
record only together with all earlier ones of its key queue.
"""

from dataclasses import dataclass, field
from typing import Literal

from consumer.engine.record_state import Step, next_state
from consumer.engine.work import PartitionAssignment, WorkItem

Ordering = Literal["none", "key", "partition"]

_WHOLE_PARTITION = b""


@dataclass(slots=True)
class _Queues:
    """An assignment's latest incomplete record by key, and its blocked records in arrival order."""

    last: dict[bytes, WorkItem] = field(default_factory=dict)
    blocked: dict[WorkItem, None] = field(default_factory=dict)


class KeyQueues:
    """Blocks records while an earlier one of their key, or partition, is incomplete.

    Each record links to the next of its key, so entering and leaving take constant time. With
    ``ordering: key``, records without a key have no order. Two assignments of one partition share
    nothing: the later one starts from what is committed.
    """

    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering
        self._assignments: dict[PartitionAssignment, _Queues] = {}
        self.blocked_records = 0

    def enter(self, item: WorkItem) -> None:
        """Add a record, in offset order; it becomes ``BLOCKED`` if it has to wait."""
        key = self._key(item)
        if key is None:
            return
        queues = self._assignments.setdefault(item.assignment, _Queues())
        earlier = queues.last.get(key)
        queues.last[key] = item
        if earlier is not None:
            earlier.successor = item
            item.state = next_state(item.state, Step.BLOCK)
            queues.blocked[item] = None
            self.blocked_records += 1

    def leave(self, item: WorkItem) -> WorkItem | None:
        key = self._key(item)
        queues = self._assignments.get(item.assignment)
        if key is None or queues is None:
            return None
        successor = item.successor
        item.successor = None
        if successor is None:
            if queues.last.get(key) is item:
                del queues.last[key]
            return None
        successor.state = next_state(successor.state, Step.UNBLOCK)
        del queues.blocked[successor]
        self.blocked_records -= 1
        return successor

    def forget(self, assignment: PartitionAssignment) -> list[WorkItem]:
        queues = self._assignments.pop(assignment, None)
        blocked = [] if queues is None else list(queues.blocked)
        self.blocked_records -= len(blocked)
        for item in blocked:
            item.successor = None
        return blocked

    def clear(self) -> list[WorkItem]:
        return [item for assignment in list(self._assignments) for item in self.forget(assignment)]

    def blocked(self) -> list[WorkItem]:
        return [item for queues in self._assignments.values() for item in queues.blocked]

    def _key(self, item: WorkItem) -> bytes | None:
        if self._ordering == "none":
            return None
        return _WHOLE_PARTITION if self._ordering == "partition" else item.record.key
