"""Interleaved rounds, their ratios, and results. Pure, except for what it calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Bar:
    """The limit of a ratio.

    Attributes:
        limit: The ratio to reach.
        direction: Whether the ratio must be at least or at most the limit.
    """

    limit: float
    direction: Literal["at least", "at most"]

    def is_met(self, ratio: float) -> bool:
        """Return whether ``ratio`` is on the right side."""
        return ratio >= self.limit if self.direction == "at least" else ratio <= self.limit

    def __str__(self) -> str:
        """Return the bar as people write it."""
        return f"{'>=' if self.direction == 'at least' else '<='} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of each side, one after the other.

    Attributes:
        subject: The service's, in the benchmark's unit.
        baseline: The baseline's, in the same unit.
    """

    subject: float
    baseline: float

    @property
    def ratio(self) -> float:
        """Subject over baseline."""
        return self.subject / self.baseline


@dataclass(frozen=True, slots=True)
class Series:
    """The rounds under one condition, e.g. one dtype.

    Attributes:
        rounds: At least one.
    """

    rounds: Sequence[Round]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(one.ratio for one in self.rounds)

    @property
    def ratio_range(self) -> tuple[float, float]:
        """The smallest and the largest of the rounds' ratios."""
        ratios = [one.ratio for one in self.rounds]
        return min(ratios), max(ratios)

    @property
    def subject(self) -> float:
        """The median of the service's measurements."""
        return median(one.subject for one in self.rounds)

    @property
    def baseline(self) -> float:
        """The median of the baseline's measurements."""
        return median(one.baseline for one in self.rounds)


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a benchmark's plot.

    Attributes:
        label: What it shows, with its unit.
        x: Positions; the same for all curves of a plot.
        y: Values.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class CurvePlot:
    """Curves below each other over a common logarithmic axis.

    Attributes:
        x_label: What the axis shows, with its unit.
        curves: One for each panel.
    """

    x_label: str
    curves: Sequence[Curve]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a benchmark measured.

    Attributes:
        series: Rounds by condition; a benchmark with one condition calls it ``all``.
        details: What else a reader of the JSON file needs.
        holds: False if a condition beside the ratio's bar was missed.
        plot: Curves to draw in place of the rounds.
    """

    series: Mapping[str, Series]
    details: Mapping[str, Any] = field(default_factory=dict)
    holds: bool = True
    plot: CurvePlot | None = None


def worst_series(result: Result, bar: Bar | None) -> tuple[str, Series]:
    """Return the series that is judged: the furthest on the wrong side of the bar."""
    items = list(result.series.items())
    if bar is not None and bar.direction == "at most":
        return max(items, key=lambda item: item[1].ratio)
    return min(items, key=lambda item: item[1].ratio)


def interleave(
    rounds: int,
    subject: Callable[[], float],
    baseline: Callable[[], float],
    say: Callable[[str], None],
) -> Series:
    """Measure both sides ``rounds`` times, one after the other and never at once.

    Every other round begins with the baseline, so that warming up or slowing down over time favours
    neither side.

    Args:
        rounds: How many, 1 or more.
        subject: Measures the service once.
        baseline: Measures the baseline once.
        say: Takes one line on each round.
    """
    measured = []
    for number in range(rounds):
        if number % 2 == 0:
            subject_value = subject()
            baseline_value = baseline()
        else:
            baseline_value = baseline()
            subject_value = subject()
        one = Round(subject_value, baseline_value)
        measured.append(one)
        say(
            f"round {number + 1} of {rounds}: {one.subject:,.4g} / {one.baseline:,.4g} "
            f"= {one.ratio:.3f}"
        )
    return Series(measured)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: ``share`` (0 to 1) of the values are at most this."""
    if not values:
        raise ValueError("a percentile of nothing: measure at least one value")
    ordered = sorted(values)
    # A rounding error may put the product above a whole rank.
    rank = ceil(share * len(ordered) - 1e-9)
    return ordered[max(0, rank - 1)]


def rate_per_s(timestamps_ms: Sequence[int]) -> float:
    """Return records a second between the first and the last of a topic's records.

    Records with the first timestamp only start the clock, so neither start-up nor a first batch
    counts.

    Args:
        timestamps_ms: Epoch milliseconds of each record, in any order.

    Raises:
        ValueError: All records have the same timestamp; publish more.
    """
    first_ms, last_ms = min(timestamps_ms), max(timestamps_ms)
    if first_ms == last_ms:
        raise ValueError(
            f"all {len(timestamps_ms)} results have one timestamp: publish more records"
        )
    later = sum(1 for each in timestamps_ms if each > first_ms)
    return later * 1000 / (last_ms - first_ms)
