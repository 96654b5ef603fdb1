"""Histograms as Prometheus has them: counts by upper bound, each of which only grows."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

LATENCY_BOUNDS_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0),
)
"""From a lone request of a small model to a backlog of hours."""

BATCH_BOUNDS_S = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""From a small encoder's batch on a large GPU to a large model's on a CPU."""

RECORDS_BOUNDS = tuple(float(2**exponent) for exponent in range(13))
"""From 1 to 4,096."""

TOKENS_BOUNDS = tuple(float(2**exponent) for exponent in range(4, 21))
"""From 16 to about a million."""


class Histogram:
    """Counts values by upper bound.

    Attributes:
        bounds: Ascending and inclusive; what is above the last counts beyond all of them.
        counts: One more than the bounds; not cumulative.
        total: The sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS_S) -> None:
        if any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f"bounds: must ascend, not {bounds}")
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def since(self, starts: Iterable[tuple[float, int]], now: float) -> None:
        """Observe the times from ``starts``, each with how often it occurs, to ``now``.

        A clock that was set back, or one that differs from ours, gives 0.
        """
        for start, times in starts:
            self.observe(max(0.0, now - start), times)

    def cumulative(self) -> list[int]:
        """Return how many values are at most each bound; the last is the count of all."""
        reached = 0
        found = []
        for count in self.counts:
            reached += count
            found.append(reached)
        return found
