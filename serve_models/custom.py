"""A model of the user's own: any class with ``infer``, named in the settings by import path."""

import inspect
from collections.abc import AsyncIterator
from contextlib import aclosing
from importlib import import_module

from ray import serve

from schemas.handoff import Chunk, ChunkModel, Outcomes
from schemas.model_settings import CustomModelSettings
from serve_models.clock import SystemClock
from serve_models.custom_engine import CustomEngine
from serve_models.engine_end import leave_soon


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
            "that yields schemas.handoff.Outcomes"
        )
    try:
        model: ChunkModel = model_class(**settings.options)
    except TypeError as error:
        raise CustomModelError(
            f"options: {settings.import_path} does not take them: {error}"
        ) from error
    return model


class CustomModel:
    """One replica of a model of the user's own.

    The class may leave ``Outcomes.replica`` empty; it is filled in here. Its ``check_health``,
    where it has one, is the replica's.

    Args:
        settings: The class and its options.

    Raises:
        CustomModelError: The class cannot be used.
    """

    def __init__(self, settings: CustomModelSettings) -> None:
        self._engine = CustomEngine(
            build_custom_model(settings),
            replica=serve.get_replica_context().replica_id.unique_id,
            clock=SystemClock(),
            on_death=leave_soon,
        )

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream the outcomes of a chunk's records, as the class gives them."""
        async with aclosing(self._engine.infer(chunk)) as stream:
            async for outcomes in stream:
                yield outcomes

    async def check_health(self) -> None:
        """Ask the class, where it can tell."""
        await self._engine.check_health()
