"""Reports between Serve's controller and the deployments, in Ray's key-value store.

The controller can call no deployment. The status board stores each policy's task and the consumers'
measures; the controller stores the latest decision of each deployment. The store lives as long as
the cluster, and both sides reach it without a connection of their own. All calls block for a
moment.
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
    value = msgspec.json.encode(measures)
    _internal_kv_put(route.encode(), value, overwrite=True, namespace=_MEASURES)


def reported_measures(route: str) -> RouteMeasures:
    value = _internal_kv_get(route.encode(), namespace=_MEASURES)
    return msgspec.json.decode(value, type=RouteMeasures) if value else RouteMeasures()


def assign_tasks(tasks: Mapping[str, ScalingTask]) -> None:
    """Store each deployment's task; other deployments have none."""
    for deployment, task in tasks.items():
        value = msgspec.json.encode(task.to_dict())
        _internal_kv_put(deployment.encode(), value, overwrite=True, namespace=_TASKS)
    # A decision of a deployment that does not scale any more would stand in `headrace status`.
    for namespace in (_TASKS, _DECISIONS):
        for key in _internal_kv_list(b"", namespace=namespace):
            if key.decode() not in tasks:
                _internal_kv_del(key, namespace=namespace)


def assigned_task(deployment: str) -> ScalingTask | None:
    value = _internal_kv_get(deployment.encode(), namespace=_TASKS)
    return ScalingTask.from_dict(msgspec.json.decode(value)) if value else None
