"""What the Ray Serve classes of text models have in common."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ray import serve

from handoff.clock import AwakeClock
from schemas.settings.models import TextModelSettings
from serve_models.replicas.base import EngineReplica
from serve_models.serving.engine_end import leave_soon
from serve_models.text.batch_limits import BatchLimits, cpu_threads
from serve_models.text.endpoints.base import Endpoints
from serve_models.text.engine import TextEngine
from serve_models.text.models.base import TextModel
from serve_models.text.models.devices import bound_tokenizer_threads, choose_device, use_threads
from serve_models.weights.sources import resolve

Settings = TypeVar("Settings", bound=TextModelSettings)
Model = TypeVar("Model", bound=TextModel)


class TextReplica(EngineReplica):
    """One replica: answers chunks (``handoff.chunk.ChunkModel``) once ``load`` is done."""

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
            clock=AwakeClock(),
            limits=BatchLimits.of(settings, device, runs_in_parallel=model.runs_in_parallel),
            use_threads=use_threads,
            on_death=leave_soon,
        )
        self._engine.start()
