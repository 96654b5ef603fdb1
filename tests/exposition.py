"""What a running Ray exports to Prometheus, through Prometheus' own parser."""

import threading
import urllib.request
from collections.abc import Collection
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


def wait_for_series(wanted: Collection[str]) -> Samples:
    """Return the samples once each of the series is exported; fail with those that are not."""
    clock, pause = SystemClock(), threading.Event()
    end_s = clock.monotonic() + _PATIENCE_S
    while missing := set(wanted) - set(samples := exported()):
        assert clock.monotonic() < end_s, f"not exported: {sorted(missing)}"
        pause.wait(_LOOK_EVERY_S)
    return samples
