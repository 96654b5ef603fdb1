"""Turns a model's settings into the class, the arguments and the resources of its replicas."""

from collections.abc import Mapping
from typing import Any, assert_never

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
from serve_models.weights.sources import CACHE_VARIABLE

AnyModelSettings = (
    EmbedderSettings
    | ClassifierSettings
    | RerankerSettings
    | GeneratorSettings
    | PipelineSettings
    | CustomModelSettings
)


def replica_class(settings: AnyModelSettings) -> type:
    match settings:
        case EmbedderSettings() | ClassifierSettings() | RerankerSettings():
            from serve_models.replicas.text import TextReplica  # noqa: PLC0415

            return TextReplica
        case GeneratorSettings():
            from serve_models.replicas.generator import Generator  # noqa: PLC0415

            return Generator
        case PipelineSettings():
            from serve_models.replicas.pipeline import Pipeline  # noqa: PLC0415

            return Pipeline
        case CustomModelSettings():
            from serve_models.replicas.custom import CustomModel  # noqa: PLC0415

            return CustomModel
        case _:
            assert_never(settings)


def arguments_of(
    name: str, settings: AnyModelSettings, step_models: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of the class of ``settings``.

    A pipeline needs handles of the models of its steps.
    """
    match settings:
        case PipelineSettings():
            return {"name": name, "settings": settings, "models": dict(step_models)}
        case _:
            return {"name": name, "settings": settings}


def actor_options(settings: ReplicaSettings) -> dict[str, Any]:
    options = {"ray_actor_options": {"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus}}
    if isinstance(settings, GeneratorSettings):
        options.update(placement_options(settings))
    return options


def with_weights_cache(options: Mapping[str, Any], cache: str | None) -> dict[str, Any]:
    """Return an actor's options under which replicas find pulled weights in ``cache``.

    Without one they look where their node's environment says.
    """
    if cache is None:
        return dict(options)
    actor = options["ray_actor_options"]
    environment = {**actor.get("runtime_env", {}).get("env_vars", {}), CACHE_VARIABLE: cache}
    runtime_env = {**actor.get("runtime_env", {}), "env_vars": environment}
    return {**options, "ray_actor_options": {**actor, "runtime_env": runtime_env}}
