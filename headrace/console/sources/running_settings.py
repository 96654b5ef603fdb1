"""The settings of what runs, as sections of the settings file. Pure.

Serve knows what each application was built from and what was changed since. So the page shows what
runs, and not what a file says that somebody has changed and not applied.
"""

from collections.abc import Mapping
from typing import Any

from headrace.console.masking import masked
from headrace.service.applications import MODEL_PREFIX, ROUTE_PREFIX, kind_of
from headrace.service.changes import RunningApplication
from headrace.settings.one_model import merged
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings
from schemas.settings.live import plain

_SERVE_OPTIONS = (
    "max_ongoing_requests",
    "health_check_period_s",
    "health_check_timeout_s",
    "graceful_shutdown_timeout_s",
)
_SCALING = ("min_replicas", "initial_replicas", "max_replicas")


def shown_settings(
    running: Mapping[str, RunningApplication],
    clusters: Mapping[str, KafkaSettings],
    console: ConsoleSettings,
) -> dict[str, Any]:
    """Return the sections, secrets masked; what is at its default is left out."""
    models: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    for name, each in sorted(running.items()):
        if kind_of(name) == "model":
            models[name.removeprefix(MODEL_PREFIX)] = {
                **_values(each),
                **{key: each.options[key] for key in _SERVE_OPTIONS if key in each.options},
                **_replicas(each.options, "replicas"),
            }
        elif kind_of(name) == "route":
            routes[name.removeprefix(ROUTE_PREFIX)] = {
                **_values(each),
                **_replicas(each.options, "consumers"),
            }
    sections = {
        **{section: plain(each) for section, each in clusters.items()},
        "models": models,
        "routes": routes,
        "console": plain(console),
    }
    found: dict[str, Any] = masked(sections)
    return found


def _values(running: RunningApplication) -> dict[str, Any]:
    return merged(running.built.get("settings", {}), running.live)


def _replicas(options: Mapping[str, Any], key: str) -> dict[str, Any]:
    scaling = options.get("autoscaling_config")
    if scaling is not None:
        return {"autoscaling": {name: scaling[name] for name in _SCALING if name in scaling}}
    return {key: options["num_replicas"]} if "num_replicas" in options else {}
