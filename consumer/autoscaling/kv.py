"""What the controller and the deployments tell each other, in Ray's own key-value store.

The controller can call no deployment: it leaves there the latest decision of each, which nothing
else knows, and finds there what the consumers have measured. The store is there as long as the
cluster is, and both sides reach it without a connection of their own.
"""

from typing import Any

import orjson
from ray.experimental.internal_kv import (
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from consumer.autoscaling.measures import RouteMeasures

_NAMESPACE = b"headrace-autoscaling"
_MEASURES_NAMESPACE = b"headrace-measures"


def tell_decision(deployment: str, decision: bytes) -> None:
    """Keep a deployment's decision, JSON; blocks for a moment."""
    _internal_kv_put(deployment.encode(), decision, overwrite=True, namespace=_NAMESPACE)


def told_decisions() -> dict[str, dict[str, Any]]:
    """Return the latest decision of each deployment that decides; needs a connection to Ray."""
    decisions = {}
    for key in sorted(_internal_kv_list(b"", namespace=_NAMESPACE)):
        value = _internal_kv_get(key, namespace=_NAMESPACE)
        if value is not None:
            decisions[key.decode()] = orjson.loads(value)
    return decisions


def tell_measures(route: str, measures: RouteMeasures) -> None:
    """Keep what a route's consumers have measured; blocks for a moment."""
    _internal_kv_put(
        route.encode(),
        orjson.dumps(measures.to_dict()),
        overwrite=True,
        namespace=_MEASURES_NAMESPACE,
    )


def told_measures(route: str) -> RouteMeasures:
    """Return what was told last of a route, nothing known where nothing was; blocks a moment."""
    value = _internal_kv_get(route.encode(), namespace=_MEASURES_NAMESPACE)
    return RouteMeasures.from_dict(orjson.loads(value)) if value else RouteMeasures()
