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

_NAMESPACE = b"headrace-autoscaling"
_TOKENS_NAMESPACE = b"headrace-tokens"


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


def tell_tokens(route: str, tokens_per_record: float) -> None:
    """Keep the mean of what a route's records take; blocks for a moment."""
    _internal_kv_put(
        route.encode(),
        repr(tokens_per_record).encode(),
        overwrite=True,
        namespace=_TOKENS_NAMESPACE,
    )


def told_tokens(route: str) -> float | None:
    """Return what was told last of a route's records, if anything; blocks for a moment."""
    value = _internal_kv_get(route.encode(), namespace=_TOKENS_NAMESPACE)
    return float(value) if value else None
