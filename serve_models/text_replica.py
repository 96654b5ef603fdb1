"""What the Ray Serve classes of text models have in common."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

from ray import serve

from schemas.handoff import Chunk, Outcomes
from schemas.model_settings import TextModelSettings
from serve_models.batch_limits import BatchLimits
from serve_models.clock import SystemClock
from serve_models.devices import choose_device, use_threads
from serve_models.sources import resolve
from serve_models.text_engine import TextEngine
from serve_models.text_model import TextModel
from serve_models.text_requests import Endpoints

Settings = TypeVar("Settings", bound=TextModelSettings)
Model = TypeVar("Model", bound=TextModel)


class TextReplica:
    """One replica: answers chunks (``schemas.handoff.ChunkModel``) once ``load`` is done."""

    _engine: TextEngine

    async def load(
        self,
        settings: Settings,
        load_model: Callable[[Path, Settings, str], Model],
        endpoints_of: Callable[[Model], Endpoints],
    ) -> None:
        """Load the model and start its engine.

        Args:
            settings: What to load and how to run it.
            load_model: Makes a model of a checkpoint's directory, settings and a device.
            endpoints_of: What the model answers.

        Raises:
            ModelSourceError: The weights are not here.
            ModelSettingsError: A setting does not fit the checkpoint.
        """
        device = choose_device(settings.device)
        # Loading takes seconds, in which Serve asks for health.
        model = await asyncio.to_thread(
            lambda: load_model(resolve(settings.source), settings, device)
        )
        self._engine = TextEngine(
            model,
            endpoints=endpoints_of(model),
            settings=settings,
            replica=serve.get_replica_context().replica_id.unique_id,
            clock=SystemClock(),
            limits=BatchLimits.of(settings, device, runs_in_parallel=model.runs_in_parallel),
            use_threads=use_threads,
        )
        self._engine.start()

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream the outcomes of a chunk's records, each record exactly once."""
        # Closed with this generator and not some time later: a consumer that went away frees it.
        async with aclosing(self._engine.infer(chunk)) as stream:
            async for outcomes in stream:
                yield outcomes

    def check_health(self) -> None:
        """Return if the replica can go on; Ray Serve replaces it where this raises.

        Raises:
            EngineDiedError: It cannot.
        """
        self._engine.check_health()

    async def __del__(self) -> None:
        # Absent where the model could not be loaded.
        engine = getattr(self, "_engine", None)
        if engine is not None:
            await engine.stop()
