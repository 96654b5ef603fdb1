"""The generator as a Ray Serve deployment's class."""

import asyncio
import os

from ray import serve

from schemas.model_settings import GeneratorSettings
from serve_models.clock import SystemClock
from serve_models.engine_process import set_engine_environment
from serve_models.engine_replica import EngineReplica
from serve_models.generation_engine import GenerationEngine
from serve_models.sources import resolve

_LAST_WORDS_S = 0.5
"""Time for what is finished to be streamed; the calls end with the process."""


def _leave_soon() -> None:
    """End this process: its engine is dead.

    Ray Serve waits for three failed health checks, while its router prefers the replica that has
    nothing to do, and each record sent to a dead engine costs it an attempt. A process that is
    gone gets no calls, and is replaced at once.
    """
    asyncio.get_running_loop().call_later(_LAST_WORDS_S, os._exit, 1)


class Generator(EngineReplica):
    """One replica: starts a vLLM engine, then answers chunks (``schemas.handoff.ChunkModel``).

    Args:
        name: The model's name in the settings.
        settings: What to load and how to run it.

    Raises:
        ModelSourceError: The weights are not here.
        GeneratorSettingsError: A setting does not fit vLLM or the checkpoint.
    """

    # Ray Serve awaits the constructor.
    async def __init__(  # type: ignore[misc]
        self, name: str, settings: GeneratorSettings
    ) -> None:
        model = resolve(settings.source)
        adapters = {each: resolve(source) for each, source in settings.adapters.items()}
        set_engine_environment(settings)
        # vLLM reads its environment as it is imported, and is not there where no model needs it.
        from serve_models.vllm_engine import VllmEngine  # noqa: PLC0415 -- see above

        self._engine = GenerationEngine(
            await VllmEngine.start(settings, name=name, model=model, adapters=adapters),
            in_flight_ratio=settings.in_flight_ratio,
            outcome_linger_ms=settings.outcome_linger_ms,
            replica=serve.get_replica_context().replica_id.unique_id,
            clock=SystemClock(),
            on_death=_leave_soon,
        )
