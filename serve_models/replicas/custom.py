"""A model of the user's own: any class with ``infer``, named in the settings by import path."""

import inspect
from importlib import import_module

from handoff.chunk import ChunkModel
from schemas.settings.models import CustomModelSettings
from serve_models.replicas.base import Replica, this_replica
from serve_models.serving.custom_engine import CustomEngine, ask_health


class CustomModelError(ValueError):
    """The class that the settings name cannot be used; names the setting and the fix."""


def build_custom_model(settings: CustomModelSettings) -> ChunkModel:
    """Import the class and construct it with the settings' options.

    Raises:
        CustomModelError: There is no such class, it refuses its options, or it has no ``infer``
            that is an async generator.
    """
    module_name, _, class_name = settings.import_path.partition(":")
    try:
        model_class = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise CustomModelError(
            f"import_path: {settings.import_path} cannot be imported ({error}); it must be "
            "MODULE:CLASS, importable where the replicas run"
        ) from error
    if not inspect.isasyncgenfunction(getattr(model_class, "infer", None)):
        raise CustomModelError(
            f"import_path: {settings.import_path} needs a method `async def infer(self, chunk)` "
            "that yields handoff.chunk.Outcomes"
        )
    try:
        model: ChunkModel = model_class(**settings.options)
    except TypeError as error:
        raise CustomModelError(
            f"options: {settings.import_path} does not take them: {error}"
        ) from error
    return model


class CustomModel(Replica):
    """One replica of a model of the user's own; the class's ``check_health`` is the replica's.

    Args:
        settings: The class and its options.

    Raises:
        CustomModelError: The class cannot be used.
    """

    def __init__(self, settings: CustomModelSettings) -> None:
        self._model = build_custom_model(settings)
        self._server = CustomEngine(self._model, this_replica())

    async def check_health(self) -> None:
        await super().check_health()
        await ask_health(self._model)
