"""A settings file as Ray Serve's own configuration: what `serve deploy` and a RayService take."""

from typing import Any

from headrace.service.applications import specs_of
from schemas.settings.file import Settings

IMPORT_PATH = "headrace.kubernetes.app:application"


def serve_config(settings: Settings) -> dict[str, Any]:
    """Return the Serve config that deploys the settings: an application a model and a route.

    Serve rebuilds an application, and restarts its replicas, where its ``args`` change. What is in
    ``deployments`` it changes in place: replicas, autoscaling, and by ``user_config`` what running
    replicas take over. No HTTP proxy runs: requests come from Kafka.
    """
    return {
        "proxy_location": "Disabled",
        "applications": [
            {
                "name": spec.name,
                "route_prefix": None,
                "import_path": IMPORT_PATH,
                "args": {"application": spec.name, **spec.built},
                "deployments": [
                    {"name": spec.deployment, **spec.options, "user_config": {"live": spec.live}}
                ],
            }
            for spec in specs_of(settings, marks_secrets=False)
        ],
    }
