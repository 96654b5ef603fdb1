"""What the Ray Serve classes of text models have in common."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ray import serve

from schemas.model_settings import TextModelSettings
from serve_models.batch_limits import BatchLimits, cpu_threads
from serve_models.clock import SystemClock
from serve_models.devices import bound_tokenizer_threads, choose_device, use_threads
from serve_models.engine_end import leave_soon
from serve_models.engine_replica import EngineReplica
from serve_models.sources import resolve
from serve_models.text_engine import TextEngine
from serve_models.text_model import TextModel
from serve_models.text_requests import Endpoints

Settings = TypeVar("Settings", bound=TextModelSettings)
Model = TypeVar("Model", bound=TextModel)


class TextReplica(EngineReplica):
    """One replica: answers chunks (``schemas.handoff.ChunkModel``) once ``load`` is done."""

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
        bound_tokenizer_threads(cpu_threads(settings))
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
            on_death=leave_soon,
        )
        self._engine.start()
