"""The Ray Serve class of a text model: embedder, classifier or reranker."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from schemas.settings.live import model_with_live
from schemas.settings.models import EmbedderSettings, TextModelSettings
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits, cpu_threads, limits_over_engine
from serve_models.replicas.backend_reports import report_backend
from serve_models.replicas.backends import load_on_vllm
from serve_models.replicas.base import Replica, this_replica
from serve_models.text.backends.loading import backend_of, load_text_model
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
        bound_tokenizer_threads(cpu_threads(settings))
        # Loading takes seconds, and Serve checks the health meanwhile.
        path = await asyncio.to_thread(resolve, settings.source)
        choice, device = backend_of(settings, path)
        logger.info("%s runs on %s", name, choice)
        if choice.backend == "vllm":
            loaded = await load_on_vllm(path, settings)
        else:
            loaded = await asyncio.to_thread(
                load_text_model, path, settings, device, choice.backend
            )
        model = loaded.model
        self._name, self._settings, self._device, self._model = name, settings, device, model
        self._engine = loaded.engine
        agreement = None if loaded.agreement is None else loaded.agreement.to_dict()
        await asyncio.to_thread(report_backend, name, choice.backend, choice.reason, agreement)
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
        limits = BatchLimits.of(
            settings, self._device, runs_in_parallel=self._model.runs_in_parallel
        )
        if self._engine is None:
            return limits
        return limits_over_engine(limits, settings, self._engine.step_tokens)

    async def __del__(self) -> None:
        await super().__del__()
        if getattr(self, "_engine", None) is not None:
            self._engine.shut_down()

    def _take_over(self, live: Mapping[str, Any]) -> None:
        settings = model_with_live(self._settings, live)
        if isinstance(settings, EmbedderSettings):
            self._model.take_prompts(settings)
        self._server.outcome_linger_s = settings.outcome_linger_ms / 1000
        reader = endpoints_of(self._model, self._name, settings)
        self._server.reconfigure(reader, self._limits(settings))
