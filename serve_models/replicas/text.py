"""The Ray Serve class of a text model: embedder, classifier or reranker."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from handoff.logs import log_through_serve
from schemas.settings.live import model_with_live
from schemas.settings.models import EmbedderSettings, TextModelSettings, text_weights
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits, cpu_threads, limits_over_engine
from serve_models.batching.work import RequestReader
from serve_models.replicas.backends import load_on
from serve_models.replicas.base import Replica, this_replica
from serve_models.replicas.gpus import given_gpus, hide_gpus, turn_to_load
from serve_models.replicas.runs_on import report_runs_on
from serve_models.text.backends.loading import backend_of
from serve_models.text.front.machine import count_gpus, usable_cpus
from serve_models.text.front.processes import FrontProcesses
from serve_models.text.front.sizing import choose_front_processes
from serve_models.text.front.spec import FrontSpec
from serve_models.text.kinds import endpoints_of
from serve_models.text.models.base import CheckedModel
from serve_models.text.models.devices import bound_tokenizer_threads, use_threads
from serve_models.weights.sources import resolve

logger = logging.getLogger(__name__)


class TextReplica(Replica):
    """One replica: loads the model, then answers chunks (``handoff.chunk.ChunkModel``).

    Raises ``ModelSourceError`` for missing weights, ``ModelSettingsError`` for bad settings.
    """

    _server: BatchEngine

    # Ray Serve awaits the constructor.
    async def __init__(  # type: ignore[misc]
        self, name: str, settings: TextModelSettings
    ) -> None:
        log_through_serve()
        gpus = given_gpus()
        if not gpus and not settings.asks_for_gpu:
            hide_gpus()
        bound_tokenizer_threads(cpu_threads(settings))
        # Loading takes seconds, and Serve checks the health meanwhile.
        path = await asyncio.to_thread(resolve, text_weights(settings))
        choice, device = backend_of(settings, path, has_gpu=bool(gpus))
        async with turn_to_load(settings.num_gpus, gpus):
            loaded = await load_on(choice.backend, path, settings, device)
        report_runs_on(name, *loaded.runs_on, *choice.facts(loaded.agreement))
        model = loaded.model
        self._name, self._settings, self._device, self._model = name, settings, device, model
        self._engine, self._backend = loaded.engine, choice.backend
        reader: RequestReader = endpoints_of(model, name, settings)
        self._front = await asyncio.to_thread(self._start_front, reader)
        server = BatchEngine(
            CheckedModel(model),
            self._front or reader,
            limits=self._limits(settings),
            host=this_replica(),
            outcome_linger_ms=settings.outcome_linger_ms,
            use_threads=use_threads,
            reader_threads=self._front.processes if self._front else 1,
        )
        server.start()
        self._server = server
        self._export_metrics(name)

    def _limits(self, settings: TextModelSettings) -> BatchLimits:
        limits = BatchLimits.of(
            settings, self._device, runs_in_parallel=self._model.runs_in_parallel
        )
        if self._engine is None:
            return replace(limits, pads=not getattr(self._model, "packs_batches", False))
        return limits_over_engine(limits, settings, self._engine.step_tokens)

    def _take_over(self, live: Mapping[str, Any]) -> None:
        settings = model_with_live(self._settings, live)
        if isinstance(settings, EmbedderSettings):
            self._model.take_prompts(settings)
        self._server.outcome_linger_s = settings.outcome_linger_ms / 1000
        reader: RequestReader = endpoints_of(self._model, self._name, settings)
        spec = self._front_spec(settings)
        if self._front is not None and spec is not None:
            self._front.use(spec, reader)
            reader = self._front
        self._server.reconfigure(reader, self._limits(settings))

    async def __del__(self) -> None:
        await super().__del__()
        front = getattr(self, "_front", None)
        if front is not None:
            front.close()
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.shut_down()

    def _start_front(self, reader: RequestReader) -> FrontProcesses | None:
        # Front processes are for the vectors of PyTorch: they keep up with a GPU.
        if not isinstance(self._settings, EmbedderSettings) or self._backend != "torch":
            return None
        processes = choose_front_processes(
            self._settings, self._device, cpus=usable_cpus(), devices=count_gpus()
        )
        spec = self._front_spec(self._settings)
        if processes and spec is None:
            logger.info(
                "front_processes: none, because the model is no plain transformer with a fast "
                "tokenizer and one vector for a text",
                extra={"event": "no_front_processes"},
            )
        return FrontProcesses(spec, processes, reader) if processes and spec is not None else None

    def _front_spec(self, settings: TextModelSettings) -> FrontSpec | None:
        # Some backends' models do not say how they read texts.
        describe = getattr(self._model, "front_spec", None)
        return None if describe is None else describe(self._name, settings)
