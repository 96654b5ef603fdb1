"""Things to do, by time."""

import heapq
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Schedule(Generic[Thing]):
    """A heap of things by time; equal times come out in the order they went in."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Thing]] = []
        self._added = 0

    def add(self, at: float, thing: Thing) -> None:
        """Schedule ``thing`` at ``at``, in whatever unit this schedule is kept."""
        self._added += 1
        heapq.heappush(self._heap, (at, self._added, thing))

    def next_at(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> Iterator[Thing]:
        """Remove and yield what is due at ``now``."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]

    def __len__(self) -> int:
        return len(self._heap)

    def keep(self, is_wanted: Callable[[Thing], bool]) -> None:
        """Forget all but what is still wanted."""
        self._heap = [entry for entry in self._heap if is_wanted(entry[2])]
        heapq.heapify(self._heap)

    def items(self) -> list[Thing]:
        """Return all that is scheduled, in no order."""
        return [thing for _, _, thing in self._heap]

    def clear(self) -> None:
        self._heap.clear()
