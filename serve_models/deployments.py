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
        case CustomModelSettings():
            return {"settings": settings}
        case _:
            return {"name": name, "settings": settings}


def actor_options(settings: ReplicaSettings) -> dict[str, Any]:
    options = {"ray_actor_options": {"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus}}
    if isinstance(settings, GeneratorSettings):
        options.update(placement_options(settings))
    return options
