"""The report of a GPU's run: ratios, and the bars that were missed."""

from dataclasses import replace

from benchmarks.gpu.busy import mean_busy
from benchmarks.gpu.report import Measured, to_document

GOOD = Measured(
    "encoder",
    "texts/s",
    service=30_000.0,
    baseline=10_000.0,
    baseline_is="encode",
    least_ratio=2.0,
    least_service=20_000.0,
    busy=0.9,
    least_busy=0.8,
)


def test_what_meets_all_bars_misses_none() -> None:
    assert GOOD.ratio == 3.0
    assert GOOD.missed == []


def test_each_bar_can_be_missed_by_itself() -> None:
    assert "ratio 1.50" in replace(GOOD, baseline=20_000.0).missed[0]
    assert "texts/s 10,000" in replace(GOOD, service=10_000.0, baseline=5_000.0).missed[0]
    assert "GPU busy 0.50" in replace(GOOD, busy=0.5).missed[0]


def test_a_peer_that_is_not_installed_and_an_unknown_share_miss_nothing() -> None:
    unknown = replace(GOOD, baseline=None, busy=None)
    assert unknown.ratio is None
    assert unknown.missed == []
    assert "not installed" in unknown.describe()


def test_without_a_gpu_no_bar_is_judged() -> None:
    slow = replace(GOOD, service=1.0)
    assert to_document([slow], {}, is_judged=False)["missed"] == []
    assert len(to_document([slow], {}, is_judged=True)["missed"]) == 2


def test_only_samples_of_the_time_at_work_count() -> None:
    samples = [(0, 0.0), (100, 0.5), (200, 1.0), (300, 0.0)]
    assert mean_busy(samples, 100, 200) == 0.75
    assert mean_busy(samples, 1_000, 2_000) is None
