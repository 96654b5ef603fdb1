"""Deletes Serve applications, and gives their drain the time that it needs."""

import threading
from collections.abc import Callable, Collection

from ray import serve

from handoff.clock import Clock, SystemClock
from headrace.service.applications import kind_of

_POLL_INTERVAL_S = 0.2
_STOP_ORDER = (("route",), ("model",), ("status", "console"))
"""Consumers finish what is in flight while their models run; the console shows it."""


def delete_applications(
    timeout_s: float,
    names: Collection[str] | None = None,
    *,
    clock: Clock | None = None,
    pause: Callable[[float], object] | None = None,
) -> bool:
    """Delete applications, routes first, and wait until Serve has forgotten them.

    Serve's own blocking delete gives up after 60 s, whatever the replicas' stop times. After
    ``timeout_s`` (``service_stop_timeout_s``) the rest is deleted without a wait. Deletes all of
    Headrace's if ``names`` is unset. Returns whether they are gone.
    """
    clock = clock or SystemClock()
    pause = pause or threading.Event().wait
    give_up_at_s = clock.monotonic() + timeout_s
    named = serve.status().applications if names is None else names
    is_gone = True
    for kinds in _STOP_ORDER:
        stage = {name for name in named if kind_of(name) in kinds}
        for name in stage:
            serve.delete(name, _blocking=False)
        while not stage.isdisjoint(serve.status().applications):
            if clock.monotonic() >= give_up_at_s:
                is_gone = False
                break
            pause(_POLL_INTERVAL_S)
    return is_gone
