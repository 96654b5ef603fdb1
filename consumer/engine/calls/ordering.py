"""Order by key or by partition: which record waits until an earlier one has its outcome.

A record leaves its lane when all messages of its outcome are acknowledged, not when the outcome is
decided: what the broker refuses is published again in a smaller form, two batches may be on their
way at once, and a crash between two publications must not leave the later one alone on the topic.
A lane has at most one record on its way, so its results stand in its order whatever befalls it, and
the completion map covers a record only together with all earlier ones of its lane.
"""

from dataclasses import dataclass, field
from typing import Literal

from consumer.engine.work import PartitionAssignment, WorkItem

Ordering = Literal["none", "key", "partition"]

_WHOLE_PARTITION = b""


@dataclass(slots=True)
class _Lanes:
    """The lanes of one assignment.

    Attributes:
        last: The latest record of each lane that has an unfinished one.
        held: The records that wait for an earlier one, in the order they came.
    """

    last: dict[bytes, WorkItem] = field(default_factory=dict)
    held: dict[WorkItem, None] = field(default_factory=dict)


class OrderedLanes:
    """Holds back records while an earlier one of their key, or partition, is unfinished.

    Each record knows the next of its lane, so entering and leaving take the same time however many
    are held. Records without a key are in no order under ``key``. Two assignments of a partition
    share nothing: the later one starts from what is committed.

    Args:
        ordering: The route's ``ordering``.
    """

    def __init__(self, ordering: Ordering) -> None:
        self._ordering = ordering
        self._assignments: dict[PartitionAssignment, _Lanes] = {}
        self.held_records = 0

    def enter(self, item: WorkItem) -> None:
        """Take in a record, in offset order; ``item.is_held`` says whether it has to wait."""
        key = self._key(item)
        if key is None:
            return
        lanes = self._assignments.setdefault(item.assignment, _Lanes())
        earlier = lanes.last.get(key)
        lanes.last[key] = item
        if earlier is not None:
            earlier.successor = item
            item.is_held = True
            lanes.held[item] = None
            self.held_records += 1

    def leave(self, item: WorkItem) -> WorkItem | None:
        """Take out a record whose outcome is acknowledged; return the one that may go now."""
        key = self._key(item)
        lanes = self._assignments.get(item.assignment)
        if key is None or lanes is None:
            return None
        released = item.successor
        item.successor = None
        if released is None:
            if lanes.last.get(key) is item:
                del lanes.last[key]
            return None
        released.is_held = False
        del lanes.held[released]
        self.held_records -= 1
        return released

    def forget(self, assignment: PartitionAssignment) -> list[WorkItem]:
        """Drop an assignment's lanes; return the records that were held there."""
        lanes = self._assignments.pop(assignment, None)
        held = [] if lanes is None else list(lanes.held)
        self.held_records -= len(held)
        for item in held:
            item.successor = None
        return held

    def clear(self) -> list[WorkItem]:
        """Drop all lanes; return the records that were held."""
        return [item for assignment in list(self._assignments) for item in self.forget(assignment)]

    def held(self) -> list[WorkItem]:
        """Return every record that waits for an earlier one."""
        return [item for lanes in self._assignments.values() for item in lanes.held]

    def _key(self, item: WorkItem) -> bytes | None:
        if self._ordering == "none":
            return None
        return _WHOLE_PARTITION if self._ordering == "partition" else item.record.key
