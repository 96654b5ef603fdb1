"""How long a stop may take."""

from collections.abc import Mapping
from typing import Any

from schemas.settings.file import RouteSettings, Settings

_CONSUMER_MARGIN_S = 15.0
_DELETION_MARGIN_S = 30.0
"""Serve's own part: it notices, kills what overran, and forgets the application."""


def consumer_stop_timeout_s(route: RouteSettings) -> float:
    """Return how long Serve lets a consumer replica of a route stop before it kills it.

    A stop drains: what is in flight finishes, is published and committed.
    """
    return route.drain_timeout_s + route.membership.rebalance_timeout_ms / 1000 + _CONSUMER_MARGIN_S


def service_stop_timeout_s(settings: Settings) -> float:
    """Return after how long everything must be gone: the slowest replica's time.

    Models stop after the routes; without callers they have nothing to finish.
    """
    routes = settings.routes.values()
    consumers_s = max(consumer_stop_timeout_s(route) for route in routes)
    models_s = max(
        settings.models[name].graceful_shutdown_timeout_s
        for route in routes
        for name in settings.models_behind(route.model)
    )
    return max(consumers_s, models_s) + _DELETION_MARGIN_S


def application_stop_timeout_s(options: Mapping[str, Any]) -> float:
    """Return after how long an application with these options of Serve's must be gone."""
    return float(options.get("graceful_shutdown_timeout_s", 0.0)) + _DELETION_MARGIN_S
