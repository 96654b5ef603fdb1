"""A consumer's metrics: every one of the table is read; what Ray is told. Ray is faked."""

from collections import defaultdict
from collections.abc import Sequence

import pytest

from consumer.replica import metrics as module
from consumer.replica.metrics import ConsumerMetrics
from consumer.replica.readings import read_engine
from handoff.exporting import Key
from schemas.metrics import CONSUMER
from tests.engines import make_engine, record
from tests.simulation import EPOCH_MS
from tests.worked_engine import worked_engine

Tags = tuple[tuple[str, str], ...]


class FakeRay:
    """Values by name and tags, as Ray adds them up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: defaultdict[str, dict[Tags, float]] = defaultdict(dict)
        ray = self

        class Fake:
            def __init__(self, name: str, _help: str, labels: Sequence[str]) -> None:
                self.name, self.labels = name, set(labels)

            def inc(self, value: float, tags: dict[str, str]) -> None:
                assert value > 0, "Ray refuses it"
                assert set(tags) == self.labels
                kept = ray.values[self.name]
                kept[tuple(tags.items())] = kept.get(tuple(tags.items()), 0) + value

            def set(self, value: float, tags: dict[str, str]) -> None:
                assert set(tags) == self.labels
                ray.values[self.name][tuple(tags.items())] = value

        monkeypatch.setattr(module, "Counter", Fake)
        monkeypatch.setattr(module, "Gauge", Fake)

    def of(self, name: str, **tags: str) -> float | None:
        return self.values[name].get(tuple({"route": "r", **tags}.items()))


def test_each_metric_of_the_table_is_read() -> None:
    of_replica: dict[Key, float] = {"paused_seconds": 0.0, "event_loop_tasks": 9}
    readings = read_engine(worked_engine(), 1.0, EPOCH_MS, of_replica)

    read = {*readings.counters, *readings.gauges, *readings.histograms}
    assert read == {each.name for each in CONSUMER}
    kinds: dict[Key, str] = {each.name: each.kind for each in CONSUMER}
    assert {kinds[name] for name in readings.counters} == {"counter"}
    assert {kinds[name] for name in readings.gauges} == {"gauge"}
    assert {kinds[name] for name in readings.histograms} == {"histogram"}


def test_ray_is_told_differences_and_cumulative_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(monkeypatch)
    metrics = ConsumerMetrics("r")
    engine = worked_engine()
    metrics.update(read_engine(engine, 1.0, EPOCH_MS))
    metrics.update(read_engine(engine, 1.0, EPOCH_MS))

    assert ray.of("headrace_completed_records") == 2
    assert ray.of("headrace_assigned_partitions") == 1
    assert ray.of("headrace_lag_records") == 3
    assert ray.of("headrace_remaining_records") == 3
    assert ray.of("headrace_remaining_tokens") == 3
    assert ray.of("headrace_chunk_records_bucket", le="1") is None
    assert ray.of("headrace_chunk_records_bucket", le="2") == 1
    assert ray.of("headrace_tokens_per_record") == 1
    assert ray.of("headrace_end_to_end_seconds_count") == 2
    assert ray.of("headrace_end_to_end_seconds_sum") == pytest.approx(4.0)
    assert ray.of("headrace_end_to_end_seconds_bucket", le="1") is None
    assert ray.of("headrace_end_to_end_seconds_bucket", le="2.5") == 2
    assert ray.of("headrace_end_to_end_seconds_bucket", le="+Inf") == 2

    engine.deliver([record(2)], 1.0, EPOCH_MS)
    metrics.update(read_engine(engine, 4.0, EPOCH_MS + 5_000))
    assert ray.of("headrace_lag_seconds") == pytest.approx(5.0)
    assert ray.of("headrace_received_records") == 3
    assert ray.of("headrace_oldest_record_seconds") == pytest.approx(3.0)


def test_what_never_counted_and_has_no_value_is_not_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = FakeRay(monkeypatch)
    ConsumerMetrics("r").update(read_engine(make_engine(), 1.0, EPOCH_MS))

    assert ray.of("headrace_received_records") is None
    assert ray.of("headrace_tokens_per_record") is None
    assert ray.of("headrace_lag_records") is None
    assert ray.of("headrace_lag_seconds") == 0
    assert ray.of("headrace_suspended") == 1
