"""Turns settings into Ray Serve's own configuration, for `serve deploy` and a RayService."""

from typing import Any

from headrace.service.applications import ApplicationSpec, logging_options, specs_of
from schemas.settings.file import Settings

IMPORT_PATH = "headrace.kubernetes.app:application"


def serve_config(settings: Settings) -> dict[str, Any]:
    """Return the Serve config that deploys the settings: one application per model and route.

    Serve rebuilds an application, and restarts its replicas, if its ``args`` change. It changes
    ``deployments`` in place: replicas, autoscaling, and through ``user_config`` the live settings
    of running replicas. No HTTP proxy runs: requests come from Kafka.
    """
    return {
        "proxy_location": "Disabled",
        **logging_options(settings.logging),
        "applications": [
            {
                "name": spec.name,
                "route_prefix": None,
                "import_path": IMPORT_PATH,
                "args": {"application": spec.name, **spec.built},
                "deployments": [
                    {"name": spec.deployment, **_options(spec), "user_config": {"live": spec.live}}
                ],
            }
            for spec in specs_of(settings)
        ],
    }


def _options(spec: ApplicationSpec) -> dict[str, Any]:
    options = dict(spec.options)
    if (logs := options.get("logging_config")) is not None:
        # It stands in place of what the code says, so it says that too.
        options["logging_config"] = {**logs, "enable_access_log": False}
    return options
