"""A text model as a Ray Serve deployment's class: embedder, classifier or reranker."""

import asyncio
from typing import Any

from schemas.settings.models import TextModelSettings
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits, cpu_threads
from serve_models.replicas.base import Replica, this_replica
from serve_models.text.kinds import KINDS, endpoints_of
from serve_models.text.models.base import CheckedModel
from serve_models.text.models.devices import bound_tokenizer_threads, choose_device, use_threads
from serve_models.weights.sources import resolve


class TextReplica(Replica):
    """One replica: loads the model, then answers chunks (``handoff.chunk.ChunkModel``).

    Raises:
        ModelSourceError: The weights are not here.
        ModelSettingsError: A setting does not fit the checkpoint.
    """

    # Ray Serve awaits the constructor.
    async def __init__(  # type: ignore[misc]
        self, name: str, settings: TextModelSettings
    ) -> None:
        device = choose_device(settings.device)
        bound_tokenizer_threads(cpu_threads(settings))
        load = KINDS[type(settings)].load
        # Loading takes seconds, in which Serve asks for health.
        model: Any = await asyncio.to_thread(
            lambda: load(resolve(settings.source), settings, device)
        )
        server = BatchEngine(
            CheckedModel(model),
            endpoints_of(model, name, settings),
            limits=BatchLimits.of(settings, device, runs_in_parallel=model.runs_in_parallel),
            host=this_replica(),
            outcome_linger_ms=settings.outcome_linger_ms,
            use_threads=use_threads,
        )
        server.start()
        self._server = server
