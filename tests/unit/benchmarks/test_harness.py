"""Rounds, ratios, bars and rates."""

import pytest

from benchmarks.harness import (
    Bar,
    Result,
    Round,
    Series,
    interleave,
    percentile,
    rate_per_s,
    worst_series,
)


def series(*ratios: float) -> Series:
    return Series([Round(ratio * 10, 10.0) for ratio in ratios])


def test_rounds_take_turns_in_going_first() -> None:
    calls: list[str] = []
    lines: list[str] = []

    def measure(side: str, value: float) -> float:
        calls.append(side)
        return value

    measured = interleave(
        3,
        lambda: measure("subject", 6.0),
        lambda: measure("baseline", 2.0),
        lines.append,
    )

    assert calls == ["subject", "baseline", "baseline", "subject", "subject", "baseline"]
    assert [one.ratio for one in measured.rounds] == [3.0, 3.0, 3.0]
    assert len(lines) == 3


def test_the_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    measured = Series([Round(1, 10), Round(30, 10), Round(2, 1)])

    assert measured.ratio == 2.0
    assert measured.ratio_range == (0.1, 3.0)


@pytest.mark.parametrize(
    ("bar", "ratio", "met"),
    [
        (Bar(0.95, "at least"), 0.95, True),
        (Bar(0.95, "at least"), 0.949, False),
        (Bar(1.5, "at most"), 1.5, True),
        (Bar(1.5, "at most"), 1.501, False),
    ],
)
def test_a_bar_has_a_side(bar: Bar, ratio: float, met: bool) -> None:
    assert bar.is_met(ratio) is met


def test_the_worst_series_is_judged() -> None:
    result = Result(series={"float32": series(1.2), "bfloat16": series(0.9)})

    assert worst_series(result, Bar(0.95, "at least"))[0] == "bfloat16"
    assert worst_series(result, Bar(1.5, "at most"))[0] == "float32"


def test_the_rate_leaves_out_what_started_the_clock() -> None:
    assert rate_per_s([1000, 1000, 1000, 1500, 2000]) == 2.0
    assert rate_per_s([2000, 1000]) == 1.0


def test_a_rate_needs_two_times() -> None:
    with pytest.raises(ValueError, match="publish more"):
        rate_per_s([5, 5, 5])


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]

    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7.0
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)
