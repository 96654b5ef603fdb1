"""A consumer's metrics, as a real Ray exports them to Prometheus."""

import time
import urllib.request
from typing import Any

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from handoff.clock import SystemClock
from schemas.metrics import CONSUMER, metric

pytestmark = pytest.mark.serve


class Worker:
    """Exports the metrics of an engine that has worked."""

    def __init__(self) -> None:
        from consumer.replica.metrics import ConsumerMetrics  # noqa: PLC0415 - needs a Ray worker
        from consumer.replica.readings import read_engine  # noqa: PLC0415 - as above
        from tests.worked_engine import worked_engine  # noqa: PLC0415 - as above

        self.metrics = ConsumerMetrics("r")
        self.metrics.update(read_engine(worked_engine(), 1.0))


def exported() -> dict[str, list[Any]]:
    """Return the samples of the local node's metrics, by series."""
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def test_prometheus_gets_each_series_of_the_table(local_serve: None) -> None:
    remote: Any = ray.remote(num_cpus=0.1)(Worker)
    worker = remote.remote()
    wanted = {each.exported for each in CONSUMER}
    clock = SystemClock()
    end_s = clock.monotonic() + 60
    while missing := wanted - set(samples := exported()):
        assert clock.monotonic() < end_s, f"not exported: {sorted(missing)}"
        time.sleep(0.5)
    for name in wanted:
        assert {each.labels["route"] for each in samples[name]} == {"r"}

    buckets = samples[metric("end_to_end_seconds").exported]
    assert {each.labels["le"]: each.value for each in buckets}["+Inf"] == 2
    (count,) = samples["ray_headrace_end_to_end_seconds_count_total"]
    assert count.value == 2
    (completed,) = samples[metric("completed_records").exported]
    assert completed.value == 2
    del worker
