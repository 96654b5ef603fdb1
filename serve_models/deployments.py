"""Settings of a model to its Ray Serve deployment."""

from typing import Any, assert_never

from ray import serve
from ray.serve import Application

from schemas.settings import CustomModelSettings, EmbedderSettings, ReplicaSettings
from serve_models.custom import CustomModel
from serve_models.embedder import Embedder


def deployment_for(name: str, settings: EmbedderSettings | CustomModelSettings) -> Application:
    """Return a model's deployment, bound and ready to be put into an application.

    Args:
        name: The model's name in the settings; the deployment is called ``model-NAME``.
        settings: The model's settings.
    """
    options = {"name": f"model-{name}", **replica_options(settings)}
    # Any: Ray's annotations of its decorator do not say that it returns a Deployment.
    decorate: Any = serve.deployment(**options)
    application: Application
    match settings:
        case EmbedderSettings():
            application = decorate(Embedder).bind(name, settings)
        case CustomModelSettings():
            application = decorate(CustomModel).bind(settings)
        case _:
            assert_never(settings)
    return application


def replica_options(settings: ReplicaSettings) -> dict[str, Any]:
    """Return the options of a Serve deployment that a model's settings ask for."""
    return {
        "num_replicas": settings.replicas,
        "ray_actor_options": {"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus},
        "max_ongoing_requests": settings.max_ongoing_requests,
        "health_check_period_s": settings.health_check_period_s,
        "health_check_timeout_s": settings.health_check_timeout_s,
        "graceful_shutdown_timeout_s": settings.graceful_shutdown_timeout_s,
        # One log line a call would be one for every few hundred records; counters say it better.
        "logging_config": {"enable_access_log": False},
    }
