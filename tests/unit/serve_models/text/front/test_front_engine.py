"""The batch engine over front processes: the same answers, and a lost replica where one ends."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from handoff.chunk import Chunk
from schemas.settings.models import EmbedderSettings
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits
from serve_models.chunks.chunk_server import ReplicaLostError
from serve_models.text.front.processes import FrontProcesses
from serve_models.text.kinds import endpoints_of
from serve_models.text.models.base import CheckedModel
from serve_models.text.models.embedding import EmbeddingModel
from tests.unit.serve_models.fakes import host, line
from tests.unit.serve_models.text_engines import answers_of, running

SETTINGS = EmbedderSettings(
    kind="embedder", source="path:/nowhere", dtype="float32", outcome_linger_ms=0.0
)
LINES = [
    line([f"text {n} of a request"] * (1 + n % 3), encoding_format="base64") for n in range(90)
] + [line(""), b"no JSON"]


@pytest.fixture(scope="module")
def model(minilm_path: Path) -> EmbeddingModel:
    return EmbeddingModel(minilm_path, SETTINGS, "cpu")


@asynccontextmanager
async def over_front_processes(
    model: EmbeddingModel, on_death: Callable[[], None] | None = None
) -> AsyncIterator[tuple[BatchEngine, FrontProcesses]]:
    spec = model.front_spec("mine", SETTINGS)
    assert spec is not None
    front = FrontProcesses(spec, 2, endpoints_of(model, "mine", SETTINGS))
    engine = BatchEngine(
        CheckedModel(model),
        front,
        limits=BatchLimits.of(SETTINGS, "cpu"),
        host=host(on_death=on_death),
        outcome_linger_ms=0.0,
        reader_threads=front.processes,
    )
    engine.start()
    try:
        yield engine, front
    finally:
        await engine.stop()
        front.close()


async def test_the_answers_are_those_of_the_replicas_own_threads(model: EmbeddingModel) -> None:
    async with running("embedder", model) as own:
        expected = await answers_of(own, LINES)
    async with over_front_processes(model) as (engine, _front):
        answers = await answers_of(engine, LINES)
    assert [status for status, _ in answers] == [status for status, _ in expected]
    for (_, body), (_, own_body) in zip(answers, expected, strict=True):
        assert body.get("usage") == own_body.get("usage")
        assert body.get("error") == own_body.get("error")


async def test_a_call_that_ends_early_leaves_nothing_behind(model: EmbeddingModel) -> None:
    async with over_front_processes(model) as (engine, _front):
        stream = engine.infer(Chunk("consumer-1", LINES))
        await anext(stream)
        await stream.aclose()
        assert engine.waiting_texts == 0
        assert len(await answers_of(engine, LINES)) == len(LINES)


async def test_a_front_process_that_ends_ends_the_replica(model: EmbeddingModel) -> None:
    async with over_front_processes(model) as (engine, front):
        request = front.prepare([line("which process")])[0]
        os.kill(request.desk.pid, signal.SIGKILL)  # type: ignore[union-attr] # it is no refusal
        # The other process may read all of a call's few slices.
        many = LINES * 8
        with pytest.raises(ReplicaLostError, match="front process"):
            await answers_of(engine, many)
        with pytest.raises(ReplicaLostError):
            engine.check_health()
