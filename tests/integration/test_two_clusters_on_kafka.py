"""Requests on one cluster, results on another: the consumer, the commands and the client."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.source.source import KafkaSource
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.replica.build import build_engine, loop_settings
from consumer.replica.kafka_publishing import kafka_publishing
from handoff.chunk import STATUS_UNRECOVERABLE, Chunk, Outcomes
from handoff.clock import SystemClock
from headrace.brokers import start_broker
from headrace.cli import main
from headrace.settings.file import load_settings
from headrace_client import AsyncHeadrace
from headrace_client.settings import load_settings as load_client_settings
from schemas.settings.file import Settings
from tests.brokers import TestBroker

pytestmark = pytest.mark.kafka

URL = "/v1/embeddings"
PATIENCE_S = 60.0
SETTINGS = """
kafka: {bootstrap: "REQUESTS", compression: lz4, fetch_max_wait_ms: 100}
results_kafka: {bootstrap: "RESULTS", compression: zstd, linger_ms: 5}
models: {m: {kind: embedder, source: "wheel:x"}}
routes:
  it: {model: m, group: ID.g, requests_topic: ID.in, results_topic: ID.out,
    dead_letters_topic: ID.dead, reply_topics: ["ID.replies.*"]}
"""


class Model:
    """Answers with a row for each text; fails for good on requests that say so, while it is ill."""

    is_ill = True

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        outcomes = Outcomes("replica", 64)
        for index, line in enumerate(chunk.lines):
            texts = orjson.loads(line)["body"]["input"]
            if self.is_ill and "fail" in texts:
                outcomes.add(index, STATUS_UNRECOVERABLE, b'{"error":{"message":"ill"}}')
                continue
            data = [{"index": at, "embedding": [1.0, 0.0]} for at in range(len(texts))]
            outcomes.add(index, 200, orjson.dumps({"object": "list", "data": data, "model": "m"}))
        yield outcomes

    async def cancel(self, consumer: str, records: Any) -> None:
        pass


@pytest.fixture(scope="module")
def results_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_broker("embedded", data_dir=tmp_path_factory.mktemp("results")) as broker:
        yield broker.bootstrap


@pytest.fixture
def file(kafka_broker: TestBroker, results_bootstrap: str, tmp_path: Path) -> Path:
    made = tmp_path / "headrace.yaml"
    text = SETTINGS.replace("REQUESTS", kafka_broker.bootstrap).replace(
        "RESULTS", results_bootstrap
    )
    made.write_text(text.replace("ID", uuid.uuid4().hex))
    return made


async def command(file: Path, *arguments: str) -> int:
    try:
        await asyncio.to_thread(main, [*arguments, "--config", str(file)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


async def topics_of(bootstrap: str, settings: Settings) -> set[str]:
    route = settings.routes["it"]
    names = [route.requests_topic, route.results_topic, route.dead_letters_topic]
    names.append(route.dead_letters_topic + "-handled")
    async with TopicAdmin(settings.kafka.model_copy(update={"bootstrap": bootstrap})) as admin:
        found = await admin.describe_topics(names)
    return {name.partition(".")[2] for name, info in found.items() if info is not None}


async def join(settings: Settings, model: Model) -> ConsumerLoop:
    route = settings.routes["it"]
    engine = build_engine(
        route_name="it", route=route, urls=frozenset({URL}), consumer="consumer",
        metadata_limit_characters=4096, jitter=random.Random(1),
    )  # fmt: skip
    source = KafkaSource(settings.kafka, route)
    publishing = kafka_publishing(settings.results_cluster, route, engine=engine, source=source)
    member = ConsumerLoop(
        engine=engine, source=source, publishing=publishing, model=model, clock=SystemClock(),
        settings=loop_settings(route),
    )  # fmt: skip
    await member.start()
    return member


def request(custom_id: str, text: str) -> bytes:
    return orjson.dumps({"custom_id": custom_id, "url": URL, "body": {"input": [text]}}) + b"\n"


async def test_each_topic_is_on_its_cluster_and_every_command_finds_it(
    file: Path, kafka_broker: TestBroker, results_bootstrap: str, tmp_path: Path
) -> None:
    settings = load_settings(file)
    assert await command(file, "topics", "create") == 0
    assert await topics_of(kafka_broker.bootstrap, settings) == {"in"}
    assert await topics_of(results_bootstrap, settings) == {"out", "dead"}
    model = Model()
    member = await join(settings, model)
    lines, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines.write_bytes(request("good", "a") + request("bad", "fail"))
    try:
        async with asyncio.timeout(PATIENCE_S):
            status = await command(file, "submit", str(lines), "--wait", "--output", str(out))
        found = {
            each["custom_id"]: each for each in map(orjson.loads, out.read_bytes().splitlines())
        }
        assert status == 1
        assert found["good"]["response"]["status_code"] == 200
        assert found["bad"]["error"]["code"] == "model_failed"

        model.is_ill = False
        assert await command(file, "dlq", "replay", "--yes") == 0
        assert await command(file, "results", "--until-count", "2", "--output", str(out)) == 0
        assert await topics_of(results_bootstrap, settings) == {"out", "dead", "dead-handled"}
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert await command(file, "results", "--output", str(out)) == 0
                codes = [
                    each["response"]["status_code"]
                    for each in map(orjson.loads, out.read_bytes().splitlines())
                    if each["custom_id"] == "bad" and each["response"] is not None
                ]
                if codes:
                    break
        assert codes == [200]

        async with AsyncHeadrace(settings=load_client_settings(file, {})) as client:
            answer = await client.embed(["x", "y"], timeout_s=PATIENCE_S)
        assert answer.vectors.shape == (2, 2)
    finally:
        await member.drain()
