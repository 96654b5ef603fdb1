"""Cancelling and large bodies against a real broker, with the commands of a user."""

import asyncio
import hashlib
import random
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from consumer.kafka.control import KafkaControlSource
from consumer.kafka.sink.sink import KafkaSink
from consumer.kafka.source.source import KafkaSource
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.object_store.object_store import open_store
from consumer.ports import Message, SourceError
from consumer.replica.build import build_engine, loop_settings
from consumer.replica.kafka_publishing import kafka_publishing, result_limit_bytes
from handoff.clock import SystemClock
from headrace.cli import main
from headrace.settings.file import load_settings
from schemas.settings.file import KafkaSettings
from schemas.wire.control import ControlRecord
from tests.brokers import TestBroker
from tests.counting_model import CountingModel
from tests.publishing import PublishingSink

pytestmark = pytest.mark.kafka

URL = "/v1/embeddings"
PATIENCE_S = 60.0
LARGE_BYTES = 3_000_000
SETTINGS = """\
kafka:
  bootstrap: BOOTSTRAP
models:
  m: {kind: embedder, source: "wheel:x"}
routes:
  it: {model: m, group: ID.g, requests_topic: ID.in, results_topic: ID.out,
    dead_letters_topic: ID.dead, control_topic: ID.control, delivery: DELIVERY,
    limits: {max_result_bytes: 20000000},
    claim_check: {store: "file://STORE/out", request_prefixes: ["file://STORE/in"]}}
"""


class LargeModel(CountingModel):
    """Gives a long answer if a request asks for it."""

    async def _compute(self, line: bytes) -> bytes:
        answer = await super()._compute(line)
        padding = orjson.loads(line)["body"].get("answer_bytes", 0)
        return orjson.dumps(orjson.loads(answer) | {"padding": "x" * padding})


class Service:
    """A route of a settings file, with one consumer in this process."""

    def __init__(self, bootstrap: str, directory: Path, delivery: str) -> None:
        self.directory = directory
        self.file = directory / "headrace.yaml"
        text = SETTINGS.replace("BOOTSTRAP", bootstrap).replace("STORE", str(directory))
        text = text.replace("ID", uuid.uuid4().hex).replace("DELIVERY", delivery)
        self.file.write_text(text)
        settings = load_settings(self.file)
        self.kafka, self.route = settings.kafka, settings.routes["it"]
        self.model = LargeModel(window_records=4)
        self.member: ConsumerLoop | None = None

    async def command(self, *arguments: str) -> int:
        """Run a command as a user does; return its exit status."""
        try:
            await asyncio.to_thread(main, [*arguments, "--config", str(self.file)])
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    async def publish(self, *values: Mapping[str, object], topic: str | None = None) -> None:
        topic = topic or self.route.requests_topic
        sink = PublishingSink(KafkaSink(self.kafka, (topic,)))
        await sink.start()
        lines = [orjson.dumps(value) for value in values]
        await sink.publish([Message(topic, None, line, []) for line in lines])
        await sink.stop()

    async def join(self) -> ConsumerLoop:
        engine = build_engine(
            route_name="it",
            route=self.route,
            urls=frozenset({URL}),
            consumer="consumer",
            metadata_limit_characters=4096,
            jitter=random.Random(1),
            result_limit_bytes=await result_limit_bytes(self.kafka, self.route),
        )
        source = KafkaSource(self.kafka, self.route)
        self.member = ConsumerLoop(
            engine=engine,
            source=source,
            publishing=kafka_publishing(self.kafka, self.route, engine=engine, source=source),
            model=self.model,
            clock=SystemClock(),
            settings=loop_settings(self.route),
            store=open_store("it", self.route),
            control=KafkaControlSource(self.kafka, self.route.control_topic or ""),
        )
        await self.member.start()
        return self.member

    async def results(self, *options: str, at_least: int) -> dict[str, dict[str, Any]]:
        """Return the results by custom_id, as `headrace results` prints them."""
        file = self.directory / "results.jsonl"
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert self.member is not None
                self.member.check()
                assert await self.command("results", "--output", str(file), *options) == 0
                lines = [orjson.loads(line) for line in file.read_bytes().splitlines()]
                if len(lines) >= at_least:
                    found = {line["custom_id"]: line for line in lines}
                    assert len(found) == len(lines)
                    return found
                await asyncio.sleep(0.2)


@pytest.fixture(params=["at_least_once", "exactly_once"])
async def service(
    request: pytest.FixtureRequest, kafka_broker: TestBroker, tmp_path: Path
) -> AsyncIterator[Service]:
    service = Service(kafka_broker.bootstrap, tmp_path, request.param)
    assert await service.command("topics", "create") == 0
    yield service
    if service.member is not None:
        await service.member.drain()


async def test_large_bodies_go_by_the_store_both_ways(service: Service) -> None:
    body = orjson.dumps({"ms": 1, "padding": "x" * LARGE_BYTES})
    (service.directory / "in").mkdir()
    (service.directory / "in/far.json").write_bytes(body)
    url = f"file://{service.directory}/in/far.json"
    sha256 = hashlib.sha256(body).hexdigest()
    await service.publish(
        {"custom_id": "large", "url": URL, "body": {"answer_bytes": LARGE_BYTES}},
        {
            "custom_id": "far",
            "url": URL,
            "body_ref": {"url": url, "size_bytes": len(body), "sha256": sha256},
        },
        {"custom_id": "changed", "url": URL, "body_ref": {"url": url, "sha256": "0" * 64}},
        {"custom_id": "escape", "url": URL, "body_ref": {"url": url + "/../../headrace.yaml"}},
        {"custom_id": "near", "url": URL, "body": {"ms": 1}},
    )
    await service.join()
    found = await service.results(at_least=5)
    reference = found["large"]["response"]["body_ref"]
    place = Path(reference["url"].removeprefix("file://"))
    stored = await asyncio.to_thread(place.read_bytes)
    assert reference["sha256"] == hashlib.sha256(stored).hexdigest()
    assert len(stored) == reference["size_bytes"] > LARGE_BYTES
    assert {each: found[each]["response"]["status_code"] for each in found} == {
        "large": 200,
        "far": 200,
        "near": 200,
        "changed": 400,
        "escape": 400,
    }
    resolved = await service.results("--resolve", at_least=5)
    assert len(resolved["large"]["response"]["body"]["padding"]) == LARGE_BYTES
    assert resolved["near"] == found["near"]


async def test_a_cancelled_request_ends_in_mid_computation(service: Service) -> None:
    slow = [
        {"custom_id": f"slow-{number}", "url": URL, "body": {"ms": 600_000}} for number in range(12)
    ]
    await service.publish(*slow)
    await service.join()
    async with asyncio.timeout(PATIENCE_S):
        while service.model.in_flight < 4:
            await asyncio.sleep(0.05)
    running = sorted(service.model.started)
    assert await service.command("cancel", "--custom-id", running[0]) == 0
    found = await service.results(at_least=1)
    assert {each: found[each]["error"]["code"] for each in found} == {
        running[0]: "request_cancelled"
    }
    await service.publish({}, topic=service.route.control_topic)
    assert await service.command("cancel", "--all", "--yes") == 0
    found = await service.results(at_least=12)
    assert {each["error"]["code"] for each in found.values()} == {"request_cancelled"}
    assert service.model.in_flight == 0
    await service.publish({"custom_id": "later", "url": URL, "body": {"ms": 1}})
    found = await service.results(at_least=13)
    assert found["later"]["response"]["status_code"] == 200


async def test_a_consumer_reads_what_was_cancelled_before_it_takes_in_records(
    service: Service,
) -> None:
    await service.publish(
        *({"custom_id": f"r{n}", "url": URL, "body": {"ms": 1}} for n in range(20))
    )
    controls = [
        ControlRecord(action="cancel", route="it", custom_id=f"r{number}").model_dump(
            exclude_none=True
        )
        for number in range(10)
    ]
    await service.publish(*controls, topic=service.route.control_topic)
    await service.join()
    found = await service.results(at_least=20)
    assert {each for each in found if found[each]["error"]} == {f"r{n}" for n in range(10)}
    assert not {f"r{n}" for n in range(10)} & set(service.model.started)


async def test_a_control_topic_that_is_missing_says_what_to_do(kafka_broker: TestBroker) -> None:
    source = KafkaControlSource(
        KafkaSettings(bootstrap=kafka_broker.bootstrap), f"none-{uuid.uuid4().hex}"
    )
    with pytest.raises(SourceError, match="headrace topics create"):
        await source.start()
