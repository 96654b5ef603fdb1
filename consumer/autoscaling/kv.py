"""What the controller and the deployments report to each other, in Ray's key-value store.

The controller can call no deployment. It stores each deployment's latest decision there, and reads
what the consumers have measured. The store lives as long as the cluster; neither side needs a
connection of its own to it.
"""

from typing import Any

import msgspec
from ray.experimental.internal_kv import (
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from consumer.autoscaling.measures import RouteMeasures

_DECISIONS = b"headrace-autoscaling"
_MEASURES = b"headrace-measures"


def report_decision(deployment: str, decision: bytes) -> None:
    """Store a deployment's decision, JSON; blocks for a moment."""
    _internal_kv_put(deployment.encode(), decision, overwrite=True, namespace=_DECISIONS)


def reported_decisions() -> dict[str, dict[str, Any]]:
    """Return the latest decision of each deployment that decides; needs a connection to Ray."""
    decisions = {}
    for key in sorted(_internal_kv_list(b"", namespace=_DECISIONS)):
        value = _internal_kv_get(key, namespace=_DECISIONS)
        if value is not None:
            decisions[key.decode()] = msgspec.json.decode(value)
    return decisions


def report_measures(route: str, measures: RouteMeasures) -> None:
    """Store what a route's consumers have measured; blocks for a moment."""
    value = msgspec.json.encode(measures)
    _internal_kv_put(route.encode(), value, overwrite=True, namespace=_MEASURES)


def reported_measures(route: str) -> RouteMeasures:
    """Return a route's latest measures, the defaults where there are none; blocks for a moment."""
    value = _internal_kv_get(route.encode(), namespace=_MEASURES)
    return msgspec.json.decode(value, type=RouteMeasures) if value else RouteMeasures()
