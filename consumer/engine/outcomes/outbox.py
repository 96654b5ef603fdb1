"""Decided outcomes on their way to the broker."""

from collections import deque
from collections.abc import Sequence

from consumer.engine.work import PartitionAssignment, WorkItem

_Queues = dict[PartitionAssignment, deque[WorkItem]]


class Outbox:
    """First decided, first published, within each input partition.

    It starts closed, and closes around rebalances: a new owner could publish the same outcome
    while the partition may be going. ``close`` swaps the queues: what waits may still go, and what
    is decided from then on waits apart until ``open``.

    Attributes:
        is_held: Nothing may be published, whatever waits.
    """

    def __init__(self) -> None:
        self._publishable: _Queues = {}
        self._withheld: _Queues = {}
        self._entry = self._withheld
        self.is_held = True

    def add(self, item: WorkItem) -> None:
        queue = self._entry.get(item.assignment)
        if queue is None:
            queue = self._entry[item.assignment] = deque()
        queue.append(item)

    def put_back(self, items: Sequence[WorkItem]) -> None:
        """Queue outcomes that were taken and not published, before what waits."""
        queues = self._withheld if self.is_held else self._publishable
        for item in reversed(items):
            queues.setdefault(item.assignment, deque()).appendleft(item)

    def open(self) -> None:
        self._publishable = _joined(self._publishable, self._withheld)
        self._withheld = {}
        self._entry = self._publishable
        self.is_held = False

    def close(self) -> None:
        """Let out what waits now, and withhold what is added from here on."""
        self._entry = self._withheld

    def hold(self) -> None:
        """Let out nothing until ``open``."""
        self._withheld = _joined(self._publishable, self._withheld)
        self._publishable = {}
        self._entry = self._withheld
        self.is_held = True

    @property
    def has_publishable(self) -> bool:
        return bool(self._publishable)

    def publishable_records(self, assignment: PartitionAssignment) -> int:
        return len(self._publishable.get(assignment, ()))

    def take(self) -> WorkItem:
        """Take an outcome, of one partition after the other; only while ``has_publishable``."""
        return self.take_of(next(iter(self._publishable)))

    def take_of(self, assignment: PartitionAssignment) -> WorkItem:
        """Take an assignment's next outcome; only while it has ``publishable_records``."""
        # Last in turn from here on, so that no partition waits for the end of another's outcomes.
        queue = self._publishable.pop(assignment)
        item = queue.popleft()
        if queue:
            self._publishable[assignment] = queue
        return item

    def remove(self, assignment: PartitionAssignment) -> list[WorkItem]:
        """Take out what waits of an assignment that is over."""
        return [
            *self._publishable.pop(assignment, ()),
            *self._withheld.pop(assignment, ()),
        ]


def _joined(first: _Queues, second: _Queues) -> _Queues:
    for assignment, queue in second.items():
        first.setdefault(assignment, deque()).extend(queue)
    return first
