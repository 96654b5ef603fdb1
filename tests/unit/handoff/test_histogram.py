"""Histograms against a list of the values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.histogram import LATENCY_BOUNDS_S, Histogram

VALUES = st.lists(st.floats(min_value=0, max_value=20_000), max_size=200)


@given(VALUES)
def test_counts_are_cumulative_and_inclusive(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)

    expected = [sum(value <= bound for value in values) for bound in LATENCY_BOUNDS_S]
    assert histogram.cumulative() == [*expected, len(values)]
    assert histogram.count == len(values)
    assert histogram.total == pytest.approx(sum(values))


@given(st.floats(min_value=0, max_value=100), st.integers(min_value=1, max_value=1000))
def test_many_at_once_count_as_many(value: float, times: int) -> None:
    once, often = Histogram(), Histogram()
    once.observe(value, times)
    for _ in range(times):
        often.observe(value)

    assert once.counts == often.counts
    assert once.total == pytest.approx(often.total)


def test_a_clock_that_was_set_back_gives_no_negative_time() -> None:
    histogram = Histogram()
    histogram.since([(10.0, 3), (4.0, 2)], 5.0)

    assert histogram.total == pytest.approx(2.0)
    assert histogram.count == 5


def test_bounds_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValueError, match="ascend"):
        Histogram((1.0, 1.0))
