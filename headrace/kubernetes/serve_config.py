"""A settings file as Ray Serve's own configuration: what `serve deploy` and a RayService take."""

from typing import Any

from headrace.kubernetes.source import RenderSource
from headrace.status.board import APP_NAME

IMPORT_PATH = "headrace.kubernetes.app:application"


def serve_config(source: RenderSource) -> dict[str, Any]:
    """Return the Serve config that deploys the settings' application.

    The settings themselves are its ``args``: a change of theirs is a change of the config, which
    Serve rolls out in place. It lists no deployments, as the application says how many replicas
    each has. No HTTP proxy runs: requests come from Kafka.
    """
    return {
        "proxy_location": "Disabled",
        "applications": [
            {
                "name": APP_NAME,
                "route_prefix": None,
                "import_path": IMPORT_PATH,
                "args": source.data,
            }
        ],
    }
