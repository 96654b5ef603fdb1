"""What Serve's controller and the deployments report to each other, in Ray's key-value store.

The controller can call no deployment. The status board leaves there what each policy is to do and
what the consumers have measured; the controller leaves the latest decision of each deployment. The
store lives as long as the cluster, and both sides reach it without a connection of their own.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from consumer.autoscaling.measures import RouteMeasures
from consumer.autoscaling.task import ScalingTask

_DECISIONS = b"headrace-autoscaling"
_MEASURES = b"headrace-measures"
_TASKS = b"headrace-scaling-tasks"


def report_decision(deployment: str, decision: bytes) -> None:
    """Keep a deployment's decision, JSON; blocks for a moment."""
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
    """Keep what a route's consumers have measured; blocks for a moment."""
    value = msgspec.json.encode(measures)
    _internal_kv_put(route.encode(), value, overwrite=True, namespace=_MEASURES)


def reported_measures(route: str) -> RouteMeasures:
    """Return what a route's consumers reported last, if anything; blocks for a moment."""
    value = _internal_kv_get(route.encode(), namespace=_MEASURES)
    return msgspec.json.decode(value, type=RouteMeasures) if value else RouteMeasures()


def assign_tasks(tasks: Mapping[str, ScalingTask]) -> None:
    """Keep what the policy of each deployment is to do; others do nothing. Blocks for a moment."""
    for deployment, task in tasks.items():
        # The Kafka password is in it, as in the arguments of the consumers that Serve keeps there.
        value = msgspec.json.encode(task.to_dict())
        _internal_kv_put(deployment.encode(), value, overwrite=True, namespace=_TASKS)
    # A decision of a deployment that does not scale any more would stand in `headrace status`.
    for namespace in (_TASKS, _DECISIONS):
        for key in _internal_kv_list(b"", namespace=namespace):
            if key.decode() not in tasks:
                _internal_kv_del(key, namespace=namespace)


def assigned_task(deployment: str) -> ScalingTask | None:
    """Return what a deployment's policy is to do, if it is known; blocks for a moment."""
    value = _internal_kv_get(deployment.encode(), namespace=_TASKS)
    return ScalingTask.from_dict(msgspec.json.decode(value)) if value else None
