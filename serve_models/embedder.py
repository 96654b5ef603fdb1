"""The embedder as a Ray Serve deployment's class."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from ray import serve

from schemas.handoff import Chunk, Outcomes
from schemas.settings import EmbedderSettings
from serve_models.batch_limits import BatchLimits
from serve_models.clock import SystemClock
from serve_models.embedding_engine import EmbeddingEngine
from serve_models.embedding_model import EmbeddingModel, choose_device, use_threads
from serve_models.sources import resolve


class Embedder:
    """One replica: loads the model, then answers chunks (``schemas.handoff.ChunkModel``).

    Args:
        name: The model's name in the settings.
        settings: What to load and how to run it.

    Raises:
        ModelSourceError: The weights are not here.
        ModelSettingsError: A setting does not fit the checkpoint.
    """

    # Ray Serve awaits the constructor.
    async def __init__(  # type: ignore[misc]
        self, name: str, settings: EmbedderSettings
    ) -> None:
        device = choose_device(settings.device)
        limits = BatchLimits.of(settings, device)
        # Loading takes seconds, in which Serve asks for health.
        model = await asyncio.to_thread(
            lambda: EmbeddingModel(resolve(settings.source), settings, device)
        )
        self._engine = EmbeddingEngine(
            model,
            name=name,
            settings=settings,
            replica=serve.get_replica_context().replica_id.unique_id,
            clock=SystemClock(),
            limits=limits,
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
