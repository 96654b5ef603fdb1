"""Settings of a model to its Ray Serve deployment."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, assert_never

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from schemas.settings.models import (
    ClassifierSettings,
    CustomModelSettings,
    EmbedderSettings,
    GeneratorSettings,
    RerankerSettings,
)
from schemas.settings.pipelines import PipelineSettings
from schemas.settings.replicas import ReplicaSettings
from serve_models.generation.placement import placement_options
from serve_models.replicas.custom import CustomModel
from serve_models.replicas.generator import Generator
from serve_models.replicas.pipeline import Pipeline
from serve_models.replicas.text import TextReplica

_NONE: Mapping[str, Any] = MappingProxyType({})


def deployment_for(
    name: str,
    settings: EmbedderSettings
    | ClassifierSettings
    | RerankerSettings
    | GeneratorSettings
    | PipelineSettings
    | CustomModelSettings,
    step_models: Mapping[str, Application] = _NONE,
    calls_per_window: Mapping[str, int] = _NONE,
    scaling: AutoscalingConfig | None = None,
) -> Application:
    """Return a model's deployment, bound and ready to be put into an application.

    Args:
        name: The model's name in the settings; the deployment is called ``model-NAME``.
        settings: The model's settings.
        step_models: Of a pipeline: the bound deployments of the models that its steps name.
        calls_per_window: Of a pipeline: the ``calls_per_window`` of each of these models.
        scaling: How Serve scales it; a fixed number of replicas where unset.
    """
    options = {"name": f"model-{name}", **replica_options(settings)}
    if scaling is not None:
        del options["num_replicas"]
        options["autoscaling_config"] = scaling
    # Any: Ray's annotations of its decorator do not say that it returns a Deployment.
    decorate: Any = serve.deployment(**options)
    application: Application
    match settings:
        case EmbedderSettings() | ClassifierSettings() | RerankerSettings():
            application = decorate(TextReplica).bind(name, settings)
        case GeneratorSettings():
            application = decorate(Generator).bind(name, settings)
        case PipelineSettings():
            application = decorate(Pipeline).bind(
                name, settings, dict(step_models), dict(calls_per_window)
            )
        case CustomModelSettings():
            application = decorate(CustomModel).bind(settings)
        case _:
            assert_never(settings)
    return application


def replica_options(settings: ReplicaSettings) -> dict[str, Any]:
    """Return the options of a Serve deployment that a model's settings ask for."""
    options = {
        "num_replicas": settings.replicas,
        "ray_actor_options": {"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus},
        "max_ongoing_requests": settings.max_ongoing_requests,
        "health_check_period_s": settings.health_check_period_s,
        "health_check_timeout_s": settings.health_check_timeout_s,
        "graceful_shutdown_timeout_s": settings.graceful_shutdown_timeout_s,
        # One log line a call would be one for every few hundred records; counters say it better.
        "logging_config": {"enable_access_log": False},
    }
    if isinstance(settings, GeneratorSettings):
        options.update(placement_options(settings))
    return options
