"""A pipeline's record has a span, and one under it for each step, which goes with the request."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence

import orjson

from handoff.chunk import STATUS_EXPIRED, STATUS_OK, Chunk, Outcomes
from handoff.tracing.spans import Ids, SpanContext
from schemas.settings.pipelines import PipelineSettings
from serve_models.chunks.chunk_server import Host
from serve_models.chunks.traces import ReplicaTraces
from serve_models.pipeline.engine import PipelineEngine
from tests.tracing import KeptSpans
from tests.unit.serve_models.fakes import FakeClock

CALLER = SpanContext(1, 10)
PIPELINE = PipelineSettings.model_validate(
    {
        "kind": "pipeline",
        "urls": ["/v1/chat/completions"],
        "answer": "generate",
        "outcome_linger_ms": 0,
        "step_linger_ms": 0,
        "steps": {
            "guard": {
                "model": "classifier",
                "url": "/classify",
                "body": {"input": "$request.text"},
                "refuse": [{"when": {"value": "$guard.label", "equals": "unsafe"}}],
            },
            "generate": {"model": "chat", "after": ["guard"]},
        },
    }
)


class Echo:
    """Answers all with one body, and keeps the chunks."""

    def __init__(self, body: object, status: int = STATUS_OK) -> None:
        self.chunks: list[Chunk] = []
        self._body, self._status = orjson.dumps(body), status

    async def cancel(self, consumer: str, records: Mapping[int, Sequence[int]]) -> None: ...

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        self.chunks.append(chunk)
        outcomes = Outcomes("step-replica", 8)
        for index in range(len(chunk.lines)):
            outcomes.add(index, self._status, self._body)
        yield outcomes


async def run(guard: Echo, chat: Echo, *, deadline_ms: int | None = None) -> KeptSpans:
    clock, kept = FakeClock(), KeptSpans()
    traces = ReplicaTraces(
        kept, Ids(random.Random(3)), clock, replica="p-1", model="guarded", operation="pipeline"
    )
    engine = PipelineEngine(
        name="guarded",
        settings=PIPELINE,
        models={"classifier": guard, "chat": chat},
        host=Host("p-1", clock, traces=traces),
    )
    body = {"messages": [{"role": "user", "content": "hello"}]}
    line = orjson.dumps({"custom_id": "a", "url": "/v1/chat/completions", "body": body})
    deadlines: list[int | None] = [] if deadline_ms is None else [deadline_ms, deadline_ms]
    async with asyncio.timeout(120):
        async for _ in engine.infer(Chunk("c", [line, line], deadlines, traces={1: CALLER})):
            pass
    await engine.stop()
    return kept


async def test_each_step_has_a_span_that_goes_with_its_request() -> None:
    guard, chat = Echo({"label": "safe"}), Echo({"answer": 1})
    kept = await run(guard, chat)

    record = kept.named("pipeline guarded")
    first, second = kept.named("step guard"), kept.named("step generate")
    assert kept.names() == ["pipeline guarded", "step generate", "step guard"]
    assert record.parent == CALLER
    assert first.parent == second.parent == record.context
    assert first.attributes == {
        "headrace.pipeline.step": "guard",
        "headrace.model": "classifier",
        "headrace.status_code": STATUS_OK,
    }
    assert guard.chunks[0].traces == {1: first.context}
    assert chat.chunks[0].traces == {1: second.context}


async def test_a_refused_record_has_no_span_of_later_steps() -> None:
    kept = await run(Echo({"label": "unsafe"}), Echo({}))

    assert kept.names() == ["pipeline guarded", "step guard"]
    assert kept.named("pipeline guarded").attributes["headrace.status_code"] != STATUS_OK


async def test_a_failed_step_is_marked() -> None:
    kept = await run(Echo({}, status=500), Echo({}))

    assert kept.named("step guard").attributes["error.type"] == "500"
    assert kept.named("pipeline guarded").error is not None


async def test_a_record_that_expires_on_arrival_has_its_span_alone() -> None:
    kept = await run(Echo({}), Echo({}), deadline_ms=1)

    assert kept.named("pipeline guarded").attributes["headrace.status_code"] == STATUS_EXPIRED
