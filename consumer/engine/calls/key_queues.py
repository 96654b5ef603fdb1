"""Order by key or by partition: which record waits until an earlier one is complete.

A record leaves its key queue when its outcome is acknowledged, not when it is decided: the broker
may refuse it and take a smaller one later, two batches may be on their way at once, and a crash
between two publications must not leave the later one alone on the topic. One record of a key queue
is on its way at a time, so its results stand in order whatever fails, and the completion map covers
a record only together with all earlier ones of its key queue.
"""

from dataclasses import dataclass, field
from typing import Literal

from consumer.engine.record_state import Step, next_state
from consumer.engine.work import PartitionAssignment, WorkItem

Ordering = Literal["none", "key", "partition"]

_WHOLE_PARTITION = b""


@dataclass(slots=True)
class _Queues:
    """The key queues of one assignment.

    Attributes:
        last: The latest record of each key that has an incomplete one.
        blocked: The records that wait for an earlier one, in the order they came.
    """

    last: dict[bytes, WorkItem] = field(default_factory=dict)
    blocked: dict[WorkItem, None] = field(default_factory=dict)


class KeyQueues:
    """Blocks records while an earlier one of their key, or partition, is incomplete.

    Each record knows the next of its key, so entering and leaving take the same time however many
    are blocked. Records without a key are in no order under ``key``. Two assignments of a partition
    share nothing: the later one starts from what is committed.

    Args:
        ordering: The route's ``ordering``.
    """

    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering
        self._assignments: dict[PartitionAssignment, _Queues] = {}
        self.blocked_records = 0

    def enter(self, item: WorkItem) -> None:
        """Add a record, in offset order; afterwards it is ``BLOCKED`` if it has to wait."""
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
        """Take out a complete record; unblock and return the next of its key."""
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
        """Drop an assignment's key queues; return the records that were blocked there."""
        queues = self._assignments.pop(assignment, None)
        blocked = [] if queues is None else list(queues.blocked)
        self.blocked_records -= len(blocked)
        for item in blocked:
            item.successor = None
        return blocked

    def clear(self) -> list[WorkItem]:
        """Drop all key queues; return the records that were blocked."""
        return [item for assignment in list(self._assignments) for item in self.forget(assignment)]

    def blocked(self) -> list[WorkItem]:
        """Return every record that waits for an earlier one."""
        return [item for queues in self._assignments.values() for item in queues.blocked]

    def _key(self, item: WorkItem) -> bytes | None:
        if self._ordering == "none":
            return None
        return _WHOLE_PARTITION if self._ordering == "partition" else item.record.key
