"""What a running Ray exports to Prometheus, through Prometheus' own parser."""

import threading
import urllib.request
from collections.abc import Callable, Collection
from typing import Any

import ray
from prometheus_client.parser import text_string_to_metric_families

from handoff.clock import SystemClock

_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.5

Samples = dict[str, list[Any]]


def exported() -> Samples:
    """Return the samples of the local node's metrics, by series."""
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def values(samples: Samples, series: str, **labels: str) -> list[float]:
    """Return the values of the samples that have these labels, among others."""
    return [each.value for each in samples.get(series, ()) if labels.items() <= each.labels.items()]


def wait_for_series(
    wanted: Collection[str], holds: Callable[[Samples], bool] = lambda _samples: True
) -> Samples:
    """Return the samples once each of the series is exported; fail with those that are not.

    ``holds`` says whether they have the values that they will: metrics are some seconds old.
    """
    clock, pause = SystemClock(), threading.Event()
    end_s = clock.monotonic() + _PATIENCE_S
    while (missing := set(wanted) - set(samples := exported())) or not holds(samples):
        assert clock.monotonic() < end_s, f"not exported: {sorted(missing)}, or their values"
        pause.wait(_LOOK_EVERY_S)
    return samples
