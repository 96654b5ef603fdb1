"""Rates and percentiles of the last minute."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.replica.reports import ReplicaSnapshot
from handoff.histogram import LATENCY_BOUNDS_S, Histogram
from headrace.overview.history import RouteHistory, latency_of, quantile
from headrace.overview.snapshot import Latency


def snapshot(completed: int, replica: str = "a", **values: object) -> ReplicaSnapshot:
    return ReplicaSnapshot(
        route="r",
        replica=replica,
        received_records=completed,
        completed_records=completed,
        **values,  # type: ignore[arg-type]
    )


def grown(per_s: int, seconds: int, begin: int = 0) -> tuple[RouteHistory, float]:
    history = RouteHistory(0.0)
    before = snapshot(begin)
    history.add(before, before, 0.0)
    for second in range(1, seconds + 1):
        after = snapshot(begin + per_s * second)
        history.add(before, after, float(second))
        before = after
    return history, float(seconds)


def test_rates_are_of_their_window() -> None:
    history, now_s = grown(100, 120)

    for window_s in (10.0, 60.0):
        rates = history.rates(window_s, now_s)
        assert rates is not None
        assert rates.completed_records_per_s == pytest.approx(100.0)
        assert rates.window_s == pytest.approx(window_s, abs=2.5)


def test_a_replica_that_has_run_for_days_is_no_burst_to_a_new_board() -> None:
    history, now_s = grown(100, 20, begin=10**9)

    rates = history.rates(10.0, now_s)

    assert rates is not None
    assert rates.completed_records_per_s == pytest.approx(100.0)


def test_a_route_that_reports_no_more_comes_to_rest() -> None:
    history, now_s = grown(100, 60)

    halfway, after = history.rates(10.0, now_s + 8), history.rates(10.0, now_s + 30)

    assert halfway is not None
    assert 0 < halfway.completed_records_per_s < 50
    assert after is not None
    assert after.completed_records_per_s == 0
    assert history.quiet_s(now_s + 30) == pytest.approx(30.0)


def test_the_first_seconds_have_no_rate() -> None:
    history, now_s = grown(100, 1)

    assert history.rates(10.0, now_s) is None


def test_failed_records_are_dead_letters_refused_and_expired_ones() -> None:
    history = RouteHistory(0.0)
    before = snapshot(0)
    after = snapshot(60, dead_letter_records=10, refused_records=20, expired_records=30)
    history.add(before, after, 10.0)

    rates = history.rates(10.0, 10.0)

    assert rates is not None
    assert rates.failed_records_per_s == pytest.approx(6.0)


def test_a_replica_that_counts_from_0_again_takes_nothing_away() -> None:
    history = RouteHistory(0.0)
    history.add(snapshot(0), snapshot(1_000), 5.0)
    history.add(None, snapshot(10), 10.0)

    rates = history.rates(10.0, 10.0)

    assert rates is not None
    assert rates.completed_records_per_s == pytest.approx(101.0)


def test_percentiles_are_of_the_last_minute_and_not_of_all_time() -> None:
    slow, fast = Histogram(), Histogram()
    slow.observe(20.0, 1_000)
    fast.observe(0.02, 1_000)
    first, then = slow.counts, [a + b for a, b in zip(slow.counts, fast.counts, strict=True)]
    history = RouteHistory(0.0)
    history.add(snapshot(0), snapshot(0, times={"model": first}), 1.0)
    for second in range(2, 100):
        same = snapshot(0, times={"model": first})
        history.add(same, same, float(second))
    history.add(snapshot(0, times={"model": first}), snapshot(0, times={"model": then}), 100.0)

    latency = latency_of(history.counts("model", 100.0))

    assert latency.records == 1_000
    assert latency.p99_s is not None
    assert latency.p99_s <= 0.025


def test_buckets_of_another_release_are_left_out() -> None:
    history = RouteHistory(0.0)
    history.add(snapshot(0), snapshot(0, times={"model": [1, 2, 3]}), 1.0)

    assert latency_of(history.counts("model", 1.0)) == Latency()


@given(st.lists(st.floats(0.0, 20_000.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_value_that_it_stands_for(
    values: list[float], share: float
) -> None:
    histogram = Histogram()
    for each in values:
        histogram.observe(each)

    found = quantile(histogram.counts, histogram.bounds, share)

    rank = max(1, -(-int(share * len(values) * 1_000_000) // 1_000_000))
    exact = sorted(values)[min(len(values), rank) - 1]
    place = bisect_left(LATENCY_BOUNDS_S, exact)
    high = LATENCY_BOUNDS_S[min(place, len(LATENCY_BOUNDS_S) - 1)]
    low = LATENCY_BOUNDS_S[place - 1] if place else 0.0
    assert low <= found <= high or found == LATENCY_BOUNDS_S[-1] == high


@given(st.lists(st.integers(0, 50), min_size=19, max_size=19).filter(any))
def test_percentiles_ascend(counts: list[int]) -> None:
    latency = latency_of(counts)

    assert latency.p50_s is not None
    assert latency.p95_s is not None
    assert latency.p99_s is not None
    assert latency.p50_s <= latency.p95_s <= latency.p99_s
    assert latency.records == sum(counts)


def test_memory_is_a_minute_whatever_the_time() -> None:
    history, _ = grown(10, 5_000)

    assert len(history._points) < 40
