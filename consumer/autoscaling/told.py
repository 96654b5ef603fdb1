"""The latest decision of every deployment, in Ray's own key-value store.

The controller can call no deployment, and nothing else knows of its decisions. The store is there
as long as the cluster is, and both sides reach it without a connection of their own.
"""

from typing import Any

import orjson
from ray.experimental.internal_kv import (
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

_NAMESPACE = b"headrace-autoscaling"


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
