"""The replica's class around the engine, without Ray."""

import asyncio
from contextlib import aclosing

from handoff.chunk import Chunk
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits
from serve_models.replicas.text import TextReplica
from serve_models.text.kinds import endpoints_of
from serve_models.text.models.base import CheckedModel
from tests.unit.serve_models.fakes import FakeModel, host, line, settings


class Replica(TextReplica):
    """Takes its engine ready-made; the test stops it."""

    def __init__(self, engine: BatchEngine) -> None:
        self._server = engine

    def __del__(self) -> None:  # type: ignore[override] # nothing to await
        pass


async def test_closing_the_replicas_stream_frees_the_engine_at_once() -> None:
    model = FakeModel()
    configured = settings(token_budget_tokens=16, max_batch_texts=1)
    engine = BatchEngine(
        CheckedModel(model),
        endpoints_of(model, "minilm", configured),
        limits=BatchLimits.of(configured, "cpu"),
        host=host(),
        outcome_linger_ms=configured.outcome_linger_ms,
    )
    engine.start()
    lines = [line("n" * (n % 9 + 1)) for n in range(50)]
    async with asyncio.timeout(120):
        answers = Replica(engine).infer(Chunk("consumer-1", lines))
        async with aclosing(answers) as stream:
            await anext(stream)
            model.running.clear()
            model.release.clear()
            await asyncio.to_thread(model.running.wait, 20)
            assert engine.waiting_texts > 0
        assert engine.waiting_texts == 0
        model.release.set()
        await engine.stop()
