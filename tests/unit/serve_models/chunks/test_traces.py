"""A replica's spans: one a sampled record, one a batch, one a step; and none for anybody else."""

import asyncio
import random
from typing import Any

import orjson
import pytest

from handoff.chunk import STATUS_FAILED, STATUS_OK, Chunk, Outcomes
from handoff.tracing.spans import Ids, SpanContext
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits
from serve_models.chunks.call import Call
from serve_models.chunks.chunk_server import ChunkServer, Host
from serve_models.chunks.traces import BatchMember, ReplicaTraces
from serve_models.custom.engine import CustomEngine
from serve_models.generation.engine import Answer, GenerationEngine
from serve_models.generation.noted import note_answer, note_question, notes
from serve_models.text.kinds import endpoints_of
from serve_models.text.models.base import CheckedModel
from tests.tracing import KeptSpans
from tests.unit.serve_models.fakes import FakeClock, FakeModel, line, settings

CALLER, OTHER_CALLER = SpanContext(1, 10, "vendor=1"), SpanContext(2, 20)


def traced_host(operation: str) -> tuple[Host, KeptSpans, FakeClock]:
    clock, kept = FakeClock(), KeptSpans()
    traces = ReplicaTraces(
        kept, Ids(random.Random(3)), clock, replica="replica-1", model="m", operation=operation
    )
    return Host("replica-1", clock, traces=traces), kept, clock


async def run(server: ChunkServer, chunk: Chunk) -> dict[int, int]:
    found: dict[int, int] = {}
    async with asyncio.timeout(120):
        async for outcomes in server.infer(chunk):
            found.update(zip(outcomes.indexes, outcomes.statuses, strict=True))
    return found


async def embed(chunk: Chunk) -> KeptSpans:
    host, kept, _ = traced_host("embeddings")
    configured, model = settings(), FakeModel()
    engine = BatchEngine(
        CheckedModel(model),
        endpoints_of(model, "m", configured),
        limits=BatchLimits.of(configured, "cpu"),
        host=host,
        outcome_linger_ms=0.0,
    )
    engine.start()
    try:
        await run(engine, chunk)
    finally:
        await engine.stop()
    return kept


async def test_sampled_records_and_their_batches_are_linked_both_ways() -> None:
    lines = [line(["one", "three"]), line("unsampled"), line("two")]
    kept = await embed(Chunk("c", lines, traces={0: CALLER, 2: OTHER_CALLER}))

    records = {each.parent: each for each in kept.spans if each.name == "embeddings m"}
    batches = [each for each in kept.spans if each.name == "batch m"]
    assert set(records) == {CALLER, OTHER_CALLER}
    first = records[CALLER]
    assert first.kind == "server"
    assert first.context.state == "vendor=1"
    assert first.attributes == {
        "headrace.model": "m",
        "headrace.replica": "replica-1",
        "headrace.status_code": STATUS_OK,
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "headrace",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 8,
    }
    assert batches
    for record in records.values():
        of_record = [each for each in batches if record.context in each.links]
        assert [each.context for each in of_record] == list(record.links)
    for batch in batches:
        assert batch.parent == batch.links[0]
        assert batch.attributes["headrace.batch.traced_records"] == len(batch.links)
    assert sum(int(str(each.attributes["headrace.batch.texts"])) for each in batches) <= 4


async def test_without_a_sampled_record_there_is_no_span() -> None:
    kept = await embed(Chunk("c", [line("one")]))

    assert kept.spans == []


class Failing:
    async def infer(self, chunk: Chunk) -> Any:
        outcomes = Outcomes("", 8)
        for index in range(len(chunk.lines)):
            outcomes.add(index, STATUS_FAILED if index else STATUS_OK, b"{}")
        yield outcomes


async def test_a_failed_record_is_marked() -> None:
    host, kept, _ = traced_host("infer")
    server = CustomEngine(Failing(), host)
    await run(server, Chunk("c", [b"{}", b"{}"], traces={0: CALLER, 1: OTHER_CALLER}))
    await server.stop()

    good, bad = sorted(kept.spans, key=lambda each: each.error is not None)
    assert (good.name, good.error) == ("infer m", None)
    assert bad.attributes["error.type"] == "500"


async def test_a_call_that_nobody_reads_any_more_ends_its_spans() -> None:
    host, kept, clock = traced_host("infer")
    assert host.traces is not None
    chunk = Chunk("c", [b"{}", b"{}"], traces={1: CALLER})
    call = Call(chunk, 0.0, traces=host.traces.of_call(chunk))
    clock.now_s = 5.0
    call.close()
    call.answer(1, STATUS_OK, b"{}")

    (span,) = kept.spans
    assert (span.start_s, span.end_s) == (0.0, 5.0)
    assert span.attributes["error.type"] == "unanswered"


async def test_a_batch_of_answered_records_has_no_span() -> None:
    host, kept, _ = traced_host("infer")
    assert host.traces is not None
    records = host.traces.of_call(Chunk("c", [b"{}"], traces={0: CALLER}))
    assert records is not None
    records.answered(0, STATUS_OK)
    kept.spans.clear()
    host.traces.batch_ended([BatchMember(records, 0, 3)], texts=1, tokens=3, took_s=0.1)

    assert kept.spans == []


class Choice:
    finish_reason = "length"


class Usage:
    prompt_tokens, completion_tokens = 7, 5


class Response:
    id, model, usage = "cmpl-1", "m", Usage()
    choices = (Choice(), Choice())


class Statistics:
    first_token_latency = 0.25
    queued_ts, scheduled_ts, first_token_ts, last_token_ts = 10.0, 10.05, 10.2, 11.2


class Generator:
    max_num_seqs = 4

    async def answer(self, url: str, body: dict[str, Any]) -> Answer:
        note_question(url, "m", body)
        if (noted := notes()) is not None:
            noted.timed(Statistics())
        note_answer(Response())
        return Answer(STATUS_OK, b"{}", tokens=12)

    def check_alive(self) -> None: ...

    def shut_down(self) -> None: ...


async def test_a_generations_span_follows_the_conventions() -> None:
    host, kept, _ = traced_host("generate")
    server = GenerationEngine(Generator(), in_flight_ratio=1, outcome_linger_ms=0, host=host)
    chat = orjson.dumps({"url": "/v1/chat/completions", "body": {"max_tokens": 5}})
    other = orjson.dumps({"url": "/v1/completions", "body": {}})
    await run(server, Chunk("c", [chat, other, other], traces={0: CALLER, 2: OTHER_CALLER}))
    await server.stop()

    chats = kept.named("chat m")
    assert kept.names() == ["chat m", "text_completion m"]
    attributes = dict(chats.attributes)
    assert attributes.pop("headrace.generation.queue_s") == pytest.approx(0.05)
    assert attributes.pop("headrace.generation.prefill_s") == pytest.approx(0.15)
    assert attributes.pop("headrace.generation.decode_s") == pytest.approx(1.0)
    assert attributes == {
        "headrace.model": "m",
        "headrace.replica": "replica-1",
        "headrace.status_code": STATUS_OK,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.response.id": "cmpl-1",
        "gen_ai.response.model": "m",
        "gen_ai.response.finish_reasons": ("length", "length"),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
    }
