"""The trace of a record, from its producer to its result, as a collector gets it by OTLP.

Consumer, pipeline and embedder are those of the service, each with an exporter of its own, as in
their replicas; Kafka is the one in memory, and the calls stay in this process.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from consumer.engine.tracing.traces import Traces
from consumer.loop.at_least_once import AtLeastOnce
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.loop.exactly_once import ExactlyOnce
from consumer.loop.publishing import Publishing
from consumer.loop.settings import LoopSettings
from consumer.ports import Message, Record
from consumer.replica.build import build_engine
from handoff.chunk import Chunk, Outcomes
from handoff.clock import SystemClock
from handoff.tracing.opening import OpenSink, ReplicaTracing, open_sink
from handoff.tracing.sampling import Sampler, Sampling
from handoff.tracing.spans import Ids
from schemas.settings.file import RouteSettings
from schemas.settings.pipelines import PipelineSettings
from schemas.settings.tracing import TracingSettings
from schemas.wire.trace_context import read_trace_context
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits
from serve_models.chunks.chunk_server import ChunkServer, Host
from serve_models.chunks.traces import ReplicaTraces
from serve_models.pipeline.engine import PipelineEngine
from serve_models.text.kinds import endpoints_of
from serve_models.text.models.base import CheckedModel
from tests.memory.broker import MemoryBroker
from tests.memory.sink import MemorySink
from tests.memory.source import MemorySource
from tests.memory.transactions import MemoryTransactionalSink
from tests.tracing import Collector, running_collector
from tests.unit.serve_models.fakes import FakeModel, settings

URL = "/v1/embeddings"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CLOCK = SystemClock()
OF_A_RECORD = (
    "process requests",
    "call search",
    "pipeline search",
    "step embed",
    "embeddings minilm",
    "send results",
)


class InProcess:
    """A chunk server as consumers see a model: all its replicas, behind one handle."""

    def __init__(self, server: ChunkServer) -> None:
        self._server = server

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        async for outcomes in self._server.infer(chunk):
            yield outcomes

    async def cancel(self, consumer: str, records: Mapping[int, Sequence[int]]) -> None:
        self._server.cancel(consumer, records)


@dataclass
class Service:
    """A route over a pipeline of one embedder."""

    broker: MemoryBroker
    collector: Collector

    def publish(self, *contexts: tuple[str, bytes]) -> None:
        """Publish one request with each of these headers, and one without."""
        wanted: list[list[tuple[str, bytes | None]]] = [[each] for each in contexts]
        for number, headers in enumerate([*wanted, []]):
            body = {"input": f"text {number}"}
            value = orjson.dumps({"custom_id": f"r{number}", "url": URL, "body": body})
            self.broker.append([Message("requests", None, value, headers)])

    async def results(self, count: int) -> list[Record]:
        async with asyncio.timeout(20):
            while len(found := self.broker.records("results")) < count:
                await asyncio.sleep(0.01)
        return found

    async def spans(self, records: int) -> list[tuple[str, Span]]:
        wanted = dict.fromkeys(OF_A_RECORD, records) | {"batch minilm": 1}
        await asyncio.to_thread(self.collector.wait_for, wanted)
        return self.collector.spans


def sink_of(collector: Collector, service: str, stack: AsyncExitStack) -> OpenSink:
    tracing = ReplicaTracing(
        settings=TracingSettings(enabled=True, endpoint=collector.endpoint),
        service=service,
        model=service,
    )
    sink = open_sink(tracing, instance=f"{service}-1", clock=CLOCK)
    stack.push_async_callback(sink.close)
    return sink


def host_of(collector: Collector, model: str, operation: str, stack: AsyncExitStack) -> Host:
    replica = f"{model}-1"
    traces = ReplicaTraces(
        sink_of(collector, f"headrace-model-{model}", stack),
        Ids(random.Random()),
        CLOCK,
        replica=replica,
        model=model,
        operation=operation,
    )
    return Host(replica, CLOCK, traces=traces)


def embedder(collector: Collector, stack: AsyncExitStack) -> InProcess:
    configured, model = settings(outcome_linger_ms=0), FakeModel()
    server = BatchEngine(
        CheckedModel(model),
        endpoints_of(model, "minilm", configured),
        limits=BatchLimits.of(configured, "cpu"),
        host=host_of(collector, "minilm", "embeddings", stack),
        outcome_linger_ms=0,
    )
    server.start()
    stack.push_async_callback(server.stop)
    return InProcess(server)


def pipeline(collector: Collector, model: InProcess, stack: AsyncExitStack) -> InProcess:
    values: dict[str, Any] = {
        "kind": "pipeline",
        "urls": [URL],
        "answer": "embed",
        "steps": {"embed": {"model": "minilm"}},
    }
    server = PipelineEngine(
        name="search",
        settings=PipelineSettings.model_validate(values),
        models={"minilm": model},
        host=host_of(collector, "search", "pipeline", stack),
    )
    stack.push_async_callback(server.stop)
    return InProcess(server)


@pytest.fixture(params=["at_least_once", "exactly_once"])
async def service(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    async with AsyncExitStack() as stack:
        collector = stack.enter_context(running_collector())
        broker = MemoryBroker(now_ms=CLOCK.epoch_ms)
        for topic in ("requests", "results", "dead-letters"):
            broker.create_topic(topic, 1)
        model = pipeline(collector, embedder(collector, stack), stack)
        source_of_ids = random.Random()
        traces = Traces(
            model="search",
            group="g",
            sampler=Sampler(Sampling(0.0), 1_000, source_of_ids),
            ids=Ids(source_of_ids),
            sink=sink_of(collector, "headrace-route-search", stack),
        )
        route = RouteSettings(
            model="search",
            requests_topic="requests",
            results_topic="results",
            dead_letters_topic="dead-letters",
            group="g",
            delivery=request.param,
        )
        engine = build_engine(
            route_name="search",
            route=route,
            urls=frozenset({URL}),
            consumer="consumer-1",
            metadata_limit_characters=4096,
            jitter=random.Random(1),
            traces=traces,
        )
        loop_settings = LoopSettings()
        source = MemorySource(broker, "requests", "g", rebalance_timeout_s=30.0)
        publishing: Publishing
        if request.param == "exactly_once":
            publishing = ExactlyOnce(
                engine=engine,
                source=source,
                sink=MemoryTransactionalSink(broker, "g", transaction_s=0.01),
                clock=CLOCK,
                settings=loop_settings,
            )
        else:
            publishing = AtLeastOnce(
                engine=engine,
                source=source,
                sink=MemorySink(broker),
                clock=CLOCK,
                settings=loop_settings,
            )
        loop = ConsumerLoop(
            engine=engine,
            source=source,
            publishing=publishing,
            model=model,
            clock=CLOCK,
            settings=loop_settings,
        )
        await loop.start()
        stack.push_async_callback(loop.drain)
        yield Service(broker, collector)


def producer(span: str, trace: str = TRACE) -> tuple[str, bytes]:
    return ("traceparent", f"00-{trace}-{span}-01".encode())


async def test_a_records_trace_goes_from_its_producer_to_its_result(service: Service) -> None:
    span = "b7ad6b7169203331"
    service.publish(producer(span))
    results = await service.results(2)
    spans = await service.spans(1)
    by_name = {each.name: (where, each) for where, each in spans}

    parents = {name: each.parent_span_id for name, (_, each) in by_name.items()}
    ids = {name: each.span_id for name, (_, each) in by_name.items()}
    assert len(spans) == len(by_name) == 7
    assert {each.trace_id.hex() for _, each in spans} == {TRACE}
    # Each line stands under the one that it names.
    assert parents["process requests"].hex() == span
    assert parents["send results"] == ids["process requests"]
    assert parents["call search"] == ids["process requests"]
    assert parents["pipeline search"] == ids["call search"]
    assert parents["step embed"] == ids["pipeline search"]
    assert parents["embeddings minilm"] == ids["step embed"]
    assert parents["batch minilm"] == ids["embeddings minilm"]
    assert [each.span_id for each in by_name["batch minilm"][1].links] == [ids["embeddings minilm"]]
    services = {name: where for name, (where, _) in by_name.items()}
    assert services["process requests"] == "headrace-route-search"
    assert services["pipeline search"] == services["step embed"] == "headrace-model-search"
    assert services["batch minilm"] == "headrace-model-minilm"
    assert by_name["process requests"][1].kind == Span.SPAN_KIND_CONSUMER
    assert all(each.status.code == Status.STATUS_CODE_UNSET for _, each in spans)
    # Within two milliseconds, as each process has a clock of its own.
    for name, parent in (("call search", "process requests"), ("batch minilm", "step embed")):
        inner, outer = by_name[name][1], by_name[parent][1]
        assert inner.start_time_unix_nano >= outer.start_time_unix_nano - 2_000_000
        assert inner.end_time_unix_nano <= outer.end_time_unix_nano + 2_000_000
    contexts = [read_trace_context(each.headers) for each in results]
    assert [each is not None for each in contexts].count(True) == 1
    (context,) = (each for each in contexts if each is not None)
    assert f"{context.trace_id:032x}" == TRACE
    assert context.span_id.to_bytes(8, "big") == ids["process requests"]


async def test_records_of_several_traces_share_a_batch_that_names_them(service: Service) -> None:
    traces = [f"{number:032x}" for number in range(1, 6)]
    service.publish(*(producer(f"{number:016x}", each) for number, each in enumerate(traces, 1)))
    await service.results(6)
    spans = await service.spans(5)
    records = [each for _, each in spans if each.name == "embeddings minilm"]
    batches = [each for _, each in spans if each.name == "batch minilm"]

    assert {each.trace_id.hex() for each in records} == set(traces)
    linked = [(link.trace_id, link.span_id) for each in batches for link in each.links]
    assert sorted(linked) == sorted((each.trace_id, each.span_id) for each in records)
    by_id = {each.span_id: each for each in batches}
    for record in records:
        (link,) = record.links
        batch = by_id[link.span_id]
        assert record.span_id in [each.span_id for each in batch.links]
    attributes = {each.key: each.value.int_value for each in batches[0].attributes}
    assert attributes["headrace.batch.traced_records"] == len(batches[0].links)
