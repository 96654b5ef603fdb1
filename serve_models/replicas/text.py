"""The Ray Serve class of a text model: embedder, classifier or reranker."""

import asyncio
from collections.abc import Mapping
from typing import Any

from schemas.settings.live import model_with_live
from schemas.settings.models import EmbedderSettings, TextModelSettings, weight_sources
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits, cpu_threads
from serve_models.devices.dtypes import dtype_in_words
from serve_models.replicas.base import Replica, this_replica
from serve_models.replicas.gpus import given_gpus, hide_gpus, turn_to_load
from serve_models.replicas.runs_on import report_runs_on
from serve_models.text.kinds import KINDS, endpoints_of
from serve_models.text.models.base import CheckedModel
from serve_models.text.models.devices import bound_tokenizer_threads, choose_device, use_threads
from serve_models.weights.sources import resolve


class TextReplica(Replica):
    """One replica: loads the model, then answers chunks (``handoff.chunk.ChunkModel``).

    Raises ``ModelSourceError`` for missing weights, ``ModelSettingsError`` for bad settings.
    """

    _server: BatchEngine

    # Ray Serve awaits the constructor.
    async def __init__(  # type: ignore[misc]
        self, name: str, settings: TextModelSettings
    ) -> None:
        gpus = given_gpus()
        if not gpus and not settings.asks_for_gpu:
            hide_gpus()
        device = choose_device(settings.device, has_gpu=bool(gpus))
        bound_tokenizer_threads(cpu_threads(settings))
        load = KINDS[type(settings)].load
        [source] = weight_sources(settings)
        # Loading takes seconds, and Serve checks the health meanwhile.
        async with turn_to_load(settings.num_gpus, gpus):
            model: Any = await asyncio.to_thread(lambda: load(resolve(source), settings, device))
        report_runs_on(name, device, dtype_in_words(settings.dtype, device))
        self._name, self._settings, self._device, self._model = name, settings, device, model
        server = BatchEngine(
            CheckedModel(model),
            endpoints_of(model, name, settings),
            limits=self._limits(settings),
            host=this_replica(),
            outcome_linger_ms=settings.outcome_linger_ms,
            use_threads=use_threads,
        )
        server.start()
        self._server = server

    def _limits(self, settings: TextModelSettings) -> BatchLimits:
        runs_in_parallel = self._model.runs_in_parallel
        return BatchLimits.of(settings, self._device, runs_in_parallel=runs_in_parallel)

    def _take_over(self, live: Mapping[str, Any]) -> None:
        settings = model_with_live(self._settings, live)
        if isinstance(settings, EmbedderSettings):
            self._model.take_prompts(settings)
        self._server.outcome_linger_s = settings.outcome_linger_ms / 1000
        reader = endpoints_of(self._model, self._name, settings)
        self._server.reconfigure(reader, self._limits(settings))
