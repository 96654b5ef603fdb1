"""Each metric of the table, as a real Ray exports it to Prometheus."""

import threading
from typing import Any

import pytest
import ray

from handoff.exporting import Key
from schemas.metrics import CONSUMER, MODEL, metric
from tests.exposition import Samples, wait_for_series

pytestmark = pytest.mark.serve

_EVERY_S = 0.5
_NAME = "exported-here"


class Worker:
    """Exports the metrics of an engine that has worked, and one value of each of a model's.

    Again and again, as a replica does: Ray tells a gauge only for a while after it was set.
    """

    def __init__(self) -> None:
        from consumer.replica.metrics import ConsumerMetrics  # noqa: PLC0415 - needs a Ray worker
        from consumer.replica.readings import read_engine  # noqa: PLC0415 - as above
        from serve_models.replicas.metrics import ModelMetrics  # noqa: PLC0415 - as above
        from tests.model_readings import readings_of_all  # noqa: PLC0415 - as above
        from tests.worked_engine import worked_engine  # noqa: PLC0415 - as above

        self._consumer = ConsumerMetrics(_NAME)
        of_replica: dict[Key, float] = {"paused_seconds": 0.0, "event_loop_tasks": 9}
        self._of_consumer = read_engine(worked_engine(), 1.0, 1_000, of_replica)
        self._model = ModelMetrics(_NAME)
        self._of_model = readings_of_all(MODEL, "model")
        threading.Thread(target=self._export, daemon=True).start()

    def _export(self) -> None:
        never = threading.Event()
        while not never.wait(_EVERY_S):
            self._consumer.update(self._of_consumer)
            self._model.update(self._of_model)


def of_worker(samples: Samples, series: str) -> list[Any]:
    """Return the samples of this test's worker: others' stay for a while after they have ended."""
    return [
        each
        for each in samples[series]
        if each.labels.get("route", _NAME) == each.labels.get("model", _NAME) == _NAME
    ]


def test_prometheus_gets_each_series_of_the_table(local_serve: None) -> None:
    remote: Any = ray.remote(num_cpus=0.1)(Worker)
    worker = remote.remote()
    wanted = {each.exported for each in (*CONSUMER, *MODEL)}
    samples = wait_for_series(wanted)
    for each in (*CONSUMER, *MODEL):
        found = of_worker(samples, each.exported)
        assert found, each.name
        assert set(each.labels) <= set(found[0].labels)

    buckets = of_worker(samples, metric("end_to_end_seconds").exported)
    assert {each.labels["le"]: each.value for each in buckets}["+Inf"] == 2
    (count,) = of_worker(samples, "ray_headrace_end_to_end_seconds_count_total")
    assert count.value == 2
    (completed,) = of_worker(samples, metric("completed_records").exported)
    assert completed.value == 2
    outcomes = of_worker(samples, metric("model_records").exported)
    assert {each.labels["outcome"] for each in outcomes} == {"one", "another"}
    del worker
