"""Whether something grows: the trend of samples over time, robust against outliers. Pure.

The slope is Theil's and Sen's: the median of the slopes between all pairs of samples. Its interval
is Sen's, by the normal approximation of Kendall's statistic ("Estimates of the regression
coefficient based on Kendall's tau", 1968).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MOST_SAMPLES = 600
"""Of more, every n-th is taken: pairs grow with the square."""
_NORMAL_975 = 1.96

Finding = Literal["flat", "grows", "shrinks", "unclear"]


@dataclass(frozen=True, slots=True)
class Trend:
    """A slope an hour, and the interval in which it lies with 95 %."""

    per_hour: float
    low_per_hour: float
    high_per_hour: float
    level: float
    """The median of the samples."""

    @property
    def ratio_per_hour(self) -> float:
        return self.per_hour / self.level if self.level else 0.0

    def finding(self, limit_ratio: float, limit: float = 0.0) -> Finding:
        """Compare with what is allowed an hour.

        Args:
            limit_ratio: Of the level.
            limit: At least this much, whatever the level.
        """
        allowed = max(limit_ratio * abs(self.level), limit)
        if abs(self.per_hour) <= allowed:
            return "flat"
        if self.low_per_hour > allowed:
            return "grows"
        return "shrinks" if self.high_per_hour < -allowed else "unclear"


def trend(times_s: Sequence[float], values: Sequence[float]) -> Trend | None:
    """Return the trend of samples, or ``None`` of fewer than three."""
    every = max(1, math.ceil(len(times_s) / MOST_SAMPLES))
    hours = np.asarray(times_s, dtype=float)[::every] / 3600
    levels = np.asarray(values, dtype=float)[::every]
    count = len(hours)
    if count < 3:
        return None
    first, second = np.triu_indices(count, k=1)
    apart = hours[second] - hours[first]
    is_apart = apart > 0
    slopes = np.sort((levels[second] - levels[first])[is_apart] / apart[is_apart])
    if not slopes.size:
        return None
    spread = _NORMAL_975 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, round((slopes.size - spread) / 2))
    high = min(slopes.size - 1, round((slopes.size + spread) / 2))
    return Trend(
        per_hour=float(np.median(slopes)),
        low_per_hour=float(slopes[low]),
        high_per_hour=float(slopes[high]),
        level=float(np.median(levels)),
    )
