"""What settings become on Ray Serve, without a cluster."""

from typing import Any

from ray.serve._private.build_app import build_app

from headrace.service.app import application_of
from headrace.service.applications import specs_of
from schemas.settings.file import Settings


def deployed(settings: Settings) -> dict[str, Any]:
    """Return each application's one deployment, by its name."""
    found = {}
    for spec in specs_of(settings):
        built = build_app(application_of(spec, settings.kafka), name=spec.name)
        [deployment] = built.deployments
        found[deployment.name] = deployment
    return found
