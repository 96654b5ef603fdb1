"""Takes the Serve application down, with the time that its drain may need."""

import threading
from collections.abc import Callable

from ray import serve

from handoff.clock import Clock, SystemClock
from headrace.status.board import APP_NAME
from schemas.settings.file import RouteSettings, Settings

_CONSUMER_MARGIN_S = 15.0
_DELETION_MARGIN_S = 30.0
"""Serve's own part: it notices, kills what overran, and forgets the application."""
_POLL_INTERVAL_S = 0.2


def consumer_stop_timeout_s(route: RouteSettings) -> float:
    """Return how long Serve lets a consumer replica of a route stop before it kills it.

    A stop drains: what is in flight finishes, is published and committed.
    """
    return route.drain_timeout_s + route.membership.rebalance_timeout_ms / 1000 + _CONSUMER_MARGIN_S


def application_stop_timeout_s(settings: Settings) -> float:
    """Return after how long the whole application must be gone: its slowest replica's time."""
    routes = settings.routes.values()
    consumers_s = max(consumer_stop_timeout_s(route) for route in routes)
    models_s = max(
        settings.models[name].graceful_shutdown_timeout_s
        for route in routes
        for name in settings.models_behind(route.model)
    )
    return max(consumers_s, models_s) + _DELETION_MARGIN_S


def delete_application(
    timeout_s: float,
    *,
    clock: Clock | None = None,
    pause: Callable[[float], object] | None = None,
) -> bool:
    """Delete the application and wait until Serve has forgotten it.

    Serve's own blocking delete gives up after 60 s, whatever its replicas were promised.

    Args:
        timeout_s: The longest wait; ``application_stop_timeout_s``.
        clock: Time; the machine's where unset.
        pause: Waits for so many seconds between two looks; really waits where unset.

    Returns:
        Whether it is gone.
    """
    clock = clock or SystemClock()
    pause = pause or threading.Event().wait
    give_up_at_s = clock.monotonic() + timeout_s
    serve.delete(APP_NAME, _blocking=False)
    while APP_NAME in serve.status().applications:
        if clock.monotonic() >= give_up_at_s:
            return False
        pause(_POLL_INTERVAL_S)
    return True
