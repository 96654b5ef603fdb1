"""A set of items, kept as ranges."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class RangeSet:
    """Items of a job as disjoint ranges [first, end), which never touch.

    Its size is that of the gaps, not of the items: a million items without a gap are two numbers.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, end in ranges:
            self.add(first, end)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __len__(self) -> int:
        """The number of ranges."""
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __contains__(self, item: int) -> bool:
        return self.covers(item, item + 1)

    @property
    def prefix(self) -> int:
        """The lowest item that is not in the set."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    @property
    def items(self) -> int:
        return sum(self._ends) - sum(self._starts)

    @property
    def end(self) -> int:
        """One above the highest item; 0 if there is none."""
        return self._ends[-1] if self._ends else 0

    def add(self, first: int, end: int) -> None:
        starts, ends = self._starts, self._ends
        if not ends or first > ends[-1]:
            starts.append(first)
            ends.append(end)
            return
        low = bisect_left(ends, first)
        high = bisect_right(starts, end)
        if low < high:
            first = min(first, starts[low])
            end = max(end, ends[high - 1])
        starts[low:high] = [first]
        ends[low:high] = [end]

    def remove(self, first: int, end: int) -> None:
        starts, ends = self._starts, self._ends
        low = bisect_right(ends, first)
        high = bisect_left(starts, end)
        if low >= high:
            return
        kept = []
        if starts[low] < first:
            kept.append((starts[low], first))
        if ends[high - 1] > end:
            kept.append((end, ends[high - 1]))
        starts[low:high] = [each[0] for each in kept]
        ends[low:high] = [each[1] for each in kept]

    def covers(self, first: int, end: int) -> bool:
        at = bisect_right(self._starts, first) - 1
        return at >= 0 and self._ends[at] >= end

    def missing(self, first: int, end: int) -> list[tuple[int, int]]:
        """The ranges of [first, end) that are not in the set."""
        starts, ends = self._starts, self._ends
        at = bisect_right(ends, first)
        gaps = []
        while at < len(starts) and starts[at] < end:
            if starts[at] > first:
                gaps.append((first, starts[at]))
            first = ends[at]
            at += 1
        if first < end:
            gaps.append((first, end))
        return gaps

    def next_missing(self, item: int) -> int:
        """The lowest item at or above ``item`` that is not in the set."""
        at = bisect_right(self._starts, item) - 1
        return max(item, self._ends[at]) if at >= 0 else item

    def next_start(self, item: int) -> int | None:
        """Where the lowest range begins that begins at or above ``item``."""
        at = bisect_left(self._starts, item)
        return self._starts[at] if at < len(self._starts) else None

    def drop_below(self, item: int) -> None:
        """Forget the ranges that end at or below ``item``."""
        at = bisect_right(self._ends, item)
        if at:
            del self._starts[:at]
            del self._ends[:at]
