"""The pauses of routes, in Ray's key-value store.

The store is the cluster's own: a pause outlives every replica and every deployment, and where Ray's
GCS is fault tolerant, the head too. It ends with the cluster. All calls block for a moment.
"""

import msgspec
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from consumer.engine.pausing import Pause

_PAUSES = b"headrace-pauses"


def pause_route(route: str, pause: Pause) -> None:
    value = msgspec.json.encode(pause)
    _internal_kv_put(route.encode(), value, overwrite=True, namespace=_PAUSES)


def resume_route(route: str) -> None:
    _internal_kv_del(route.encode(), namespace=_PAUSES)


def stored_pause(route: str) -> Pause | None:
    value = _internal_kv_get(route.encode(), namespace=_PAUSES)
    return msgspec.json.decode(value, type=Pause) if value else None


def stored_pauses() -> dict[str, Pause]:
    """Return the pause of each route that is paused."""
    routes = [key.decode() for key in _internal_kv_list(b"", namespace=_PAUSES)]
    found = {route: stored_pause(route) for route in routes}
    return {route: pause for route, pause in found.items() if pause is not None}
