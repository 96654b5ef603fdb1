"""A model of the user's own: any class with ``infer``, named in the settings by import path."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from importlib import import_module
from typing import Any

from ray import serve

from handoff.chunk import Chunk, ChunkModel, Outcomes
from handoff.clock import SystemClock
from schemas.settings.models import CustomModelSettings
from serve_models.serving.call import NAMED_AFTER_S
from serve_models.serving.custom_engine import CustomEngine
from serve_models.serving.engine_end import leave_soon


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


async def stream_named(
    stream: Any, replica: str, named_after_s: float = NAMED_AFTER_S
) -> AsyncGenerator[Outcomes, None]:
    """Yield what a stream yields, in the replica's name.

    Args:
        stream: The class's; closed with this generator.
        replica: The name.
        named_after_s: A stream that has yielded nothing by then is begun with an empty item.
    """
    items: asyncio.Queue[Outcomes | None] = asyncio.Queue()
    # One task runs it from end to end, as a class may rely on.
    reading = asyncio.create_task(_read(stream, items))
    reading.add_done_callback(lambda _: items.put_nowait(None))
    try:
        try:
            async with asyncio.timeout(named_after_s):
                item = await items.get()
        except TimeoutError:
            item = Outcomes(replica, window_records=0)
        while item is not None:
            item.replica = replica
            yield item
            item = await items.get()
        await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _read(stream: Any, items: "asyncio.Queue[Outcomes | None]") -> None:
    async with aclosing(stream):
        async for outcomes in stream:
            items.put_nowait(outcomes)


class CustomModel:
    """One replica of a model of the user's own.

    ``Outcomes.replica`` is filled in here. Its ``check_health``,
    where it has one, is the replica's.

    Args:
        settings: The class and its options.

    Raises:
        CustomModelError: The class cannot be used.
    """

    def __init__(self, settings: CustomModelSettings) -> None:
        self._replica = serve.get_replica_context().replica_id.unique_id
        self._engine = CustomEngine(
            build_custom_model(settings),
            clock=SystemClock(),
            on_death=leave_soon,
        )

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream the outcomes of a chunk's records, as the class gives them."""
        # Closed with this generator and not some time later: a consumer that went away frees it.
        async with aclosing(stream_named(self._engine.infer(chunk), self._replica)) as stream:
            async for outcomes in stream:
                yield outcomes

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Change nothing: a model of the user's own has no live settings."""

    async def check_health(self) -> None:
        """Ask the class, where it can tell."""
        await self._engine.check_health()
