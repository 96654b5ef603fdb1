"""Text models' replicas without Ray, over fake models."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from handoff.chunk import Chunk
from schemas.settings.models import ClassifierSettings, EmbedderSettings, RerankerSettings
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits
from serve_models.text.kinds import endpoints_of
from serve_models.text.models.base import CheckedModel
from tests.unit.serve_models.fakes import host

_KINDS: dict[str, Any] = {
    "embedder": EmbedderSettings,
    "classifier": ClassifierSettings,
    "reranker": RerankerSettings,
}


@asynccontextmanager
async def running(kind: str, model: Any, **changes: object) -> AsyncIterator[BatchEngine]:
    settings = _KINDS[kind].model_validate(
        {"kind": kind, "source": "path:/nowhere", "outcome_linger_ms": 0.0, **changes}
    )
    engine = BatchEngine(
        CheckedModel(model),
        endpoints_of(model, "mine", settings),
        limits=BatchLimits.of(settings, "cpu"),
        host=host(),
        outcome_linger_ms=settings.outcome_linger_ms,
    )
    engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def answers_of(engine: BatchEngine, lines: Sequence[bytes]) -> list[tuple[int, Any]]:
    """Return each line's status and body, in the order of the lines."""
    collected: dict[int, tuple[int, Any]] = {}
    async for outcomes in engine.infer(Chunk("consumer-1", list(lines))):
        for index, status, body in zip(
            outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True
        ):
            assert index not in collected
            collected[index] = (status, orjson.loads(body))
    return [collected[index] for index in range(len(lines))]
