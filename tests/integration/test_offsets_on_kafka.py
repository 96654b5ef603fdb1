"""``headrace offsets`` between a pause and its end, on a real broker: each record's outcomes."""

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata as KafkaPoint
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.engine.engine import Engine
from consumer.engine.pausing import Pause
from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.source.source import KafkaSource
from consumer.kafka.transactions.names import transactional_id_of
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.loop.pausable import PausableLoop
from consumer.ports import TopicPartition
from consumer.replica.build import build_engine, loop_settings
from consumer.replica.kafka_publishing import kafka_publishing
from handoff.clock import SystemClock
from headrace.cli import main
from headrace.records.reading import TopicRecord, read_topic
from headrace.settings.file import load_settings
from schemas.settings.file import Settings
from tests.brokers import TestBroker
from tests.counting_model import CountingModel
from tests.simulated_service import URL, request

pytestmark = pytest.mark.kafka

PATIENCE_S = 60.0
RECORDS = 40
STUCK = "stuck"
SETTINGS = """\
kafka: {bootstrap: BOOTSTRAP}
models:
  m: {kind: embedder, source: "wheel:x"}
routes:
  r: {model: m, group: ID.g, delivery: DELIVERY, drain_timeout_s: 1, topics: {partitions: 2},
    requests_topic: ID.in, results_topic: ID.out, dead_letters_topic: ID.dead}
"""


class Service:
    """One route on a real broker with one consumer, which is paused as by the status board."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.route = settings.routes["r"]
        self.consumer: PausableLoop | None = None
        self._makes = 0

    def _make(self, earlier: Engine | None) -> ConsumerLoop:
        self._makes += 1
        kafka, route = self.settings.kafka, self.route
        engine = build_engine(
            route_name="r",
            route=route,
            urls=frozenset({URL}),
            consumer=f"consumer-{self._makes}",
            metadata_limit_characters=4096,
            jitter=random.Random(1),
            earlier=earlier,
        )
        source = KafkaSource(kafka, route)
        return ConsumerLoop(
            engine=engine,
            source=source,
            publishing=kafka_publishing(kafka, route, engine=engine, source=source),
            model=CountingModel(window_records=64),
            clock=SystemClock(),
            settings=loop_settings(route),
        )

    async def start(self) -> None:
        route = self.route
        names = (route.requests_topic, route.results_topic, route.dead_letters_topic)
        async with TopicAdmin(self.settings.kafka) as admin:
            await admin.ensure_topics({name: TopicInfo(2, 1) for name in names})
        await self.publish({f"{number}": 1.0 for number in range(RECORDS)} | {STUCK: 3.6e6})
        await self.publish({f"{number}": 1.0 for number in range(RECORDS, 2 * RECORDS)})
        self.consumer = PausableLoop(self._make)
        await self.consumer.start(None)

    async def publish(self, records_ms: dict[str, float]) -> None:
        """Publish records to both partitions in turn; the stuck one to the first."""
        async with AIOKafkaProducer(bootstrap_servers=self.settings.kafka.bootstrap) as producer:
            for number, (custom_id, ms) in enumerate(records_ms.items()):
                value = request(custom_id, ms)
                topic = self.route.requests_topic
                await producer.send_and_wait(
                    topic, value, custom_id.encode(), partition=0 if ms > 1e3 else number % 2
                )

    async def pause(self) -> None:
        assert self.consumer is not None
        self.consumer.follow(Pause(0, "a test"))
        async with asyncio.timeout(PATIENCE_S):
            while not self.consumer.is_out:
                self.consumer.check()
                await asyncio.sleep(0.05)

    def resume(self) -> None:
        assert self.consumer is not None
        self.consumer.follow(None)

    async def close(self) -> None:
        if self.consumer is not None:
            await self.consumer.drain()

    async def records(self, topic: str) -> list[TopicRecord]:
        found = read_topic(self.settings.kafka, topic, from_beginning=True, follow=False)
        return [record async for record in found if record is not None]

    async def places(self) -> dict[str, tuple[int, int]]:
        """Return where each request stands."""
        return {
            (record.key or b"").decode(): (record.partition, record.offset)
            for record in await self.records(self.route.requests_topic)
        }

    async def results(self, records: int) -> Counter[str]:
        """Return how often each request was answered, once there are so many answers."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                lines = [
                    orjson.loads(record.value or b"")
                    for record in await self.records(self.route.results_topic)
                ]
                if len(lines) >= records:
                    return Counter(line["custom_id"] for line in lines)
                assert self.consumer is not None
                self.consumer.check()
                await asyncio.sleep(0.1)


@pytest.fixture(params=["at_least_once", "exactly_once"])
async def service(
    request: pytest.FixtureRequest,
    kafka_broker: TestBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Service]:
    text = SETTINGS.replace("BOOTSTRAP", kafka_broker.bootstrap).replace("ID", uuid.uuid4().hex)
    file = tmp_path / "headrace.yaml"
    file.write_text(text.replace("DELIVERY", request.param))
    monkeypatch.setenv("HEADRACE_CONFIG", str(file))
    made = Service(load_settings(file))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command beside the service; return its exit status, output and errors."""

    async def run_command(*arguments: str) -> tuple[int, Any, str]:
        def command() -> int:
            with pytest.raises(SystemExit) as caught:
                main([*arguments])
            return int(caught.value.code or 0)

        code = await asyncio.to_thread(command)
        captured = capsys.readouterr()
        out = captured.out
        parsed = json.loads(out) if "--json" in arguments and out else out
        return code, parsed, " ".join(captured.err.split())

    return run_command


async def test_offsets_are_changed_during_a_pause_and_every_record_has_its_outcomes(
    service: Service, run: Any
) -> None:
    done = 2 * RECORDS
    await service.results(done)
    places = await service.places()
    code, _, err = await run("offsets", "seek", "--to-earliest", "--yes")
    assert code == 2
    assert "has members" in err
    assert "`headrace route pause r` first" in err

    await service.pause()
    code, shown, _ = await run("offsets", "show", "r", "-P", "0", "--json")
    partition = shown["r"]["partitions"][0]
    assert code == 0
    assert shown["r"]["group_state"] == "Empty"
    assert places[STUCK] == (0, partition["committed"])
    assert (partition["left"], partition["metadata"]["unfinished"]) == (1, [places[STUCK][1]])
    assert partition["lag"] > 1

    skip = ("offsets", "skip", *map(str, places[STUCK]), "--reason", "too long", "--json")
    code, planned, _ = await run(*skip)
    assert (code, planned["done"]) == (0, False)
    assert not await service.records(service.route.dead_letters_topic)
    code, skipped, err = await run(*skip, "--yes")
    assert code == 0, err
    assert (skipped["done"], skipped["outcome"]) == (True, "skipped_by_operator")
    (letter,) = await service.records(service.route.dead_letters_topic)
    assert dict(letter.headers)["headrace-error-code"] == b"skipped_by_operator"
    assert b"too long" in (dict(letter.headers)["headrace-error-message"] or b"")
    assert letter.key == STUCK.encode()
    code, _, err = await run(*skip, "--yes")
    assert code == 2
    assert "done already" in err

    code, replayed, err = await run("offsets", "replay", "1", "3", "6", "--yes", "--json")
    assert code == 0, err
    assert replayed["partitions"][0]["again"] == 4
    (_, other) = (await run("offsets", "show", "r", "--json"))[1]["r"]["partitions"]
    assert (other["committed"], other["left"]) == (3, 4)

    service.resume()
    again = {name for name, place in places.items() if place[0] == 1 and 3 <= place[1] <= 6}
    # The skipped one has a result with its error.
    results = await service.results(done + 1 + len(again))
    assert {name for name, times in results.items() if times == 2} == again
    assert set(results) == set(places)

    await service.pause()
    code, _, err = await run("offsets", "seek", "--by", "-900", "--yes")
    assert code == 2
    assert "is not between 0 and" in err
    code, moved, err = await run("offsets", "seek", "--by", "-2", "-P", "1", "--yes", "--json")
    assert code == 0, err
    assert moved["partitions"][0]["after"] == moved["partitions"][0]["before"] - 2
    service.resume()
    results = await service.results(done + 1 + len(again) + 2)
    last = sorted(place for place in places.values() if place[0] == 1)[-2:]
    assert {results[name] for name, place in places.items() if place in last} == {2}
    assert len(await service.records(service.route.dead_letters_topic)) == 1


async def test_an_open_transaction_of_a_consumer_that_is_gone_does_not_come_after_the_change(
    service: Service, run: Any
) -> None:
    await service.results(2 * RECORDS)
    await service.pause()
    route, place = service.route, TopicPartition(service.route.requests_topic, 1)
    gone = AIOKafkaProducer(
        bootstrap_servers=service.settings.kafka.bootstrap,
        transactional_id=transactional_id_of(route.group, place),
        transaction_timeout_ms=60_000,
    )
    await gone.start()
    await gone.begin_transaction()
    await gone.send_offsets_to_transaction({KafkaPartition(*place): KafkaPoint(1, "")}, route.group)

    code, _, err = await run("offsets", "seek", "--to-earliest", "-P", "1", "--yes")

    if route.delivery == "at_least_once":
        assert code == 2
        assert "an open transaction is to change offsets" in err
        await gone.abort_transaction()
        await gone.stop()
        return
    assert code == 0, err
    with pytest.raises(KafkaError):
        await gone.commit_transaction()
    await gone.stop()
    (_, moved) = (await run("offsets", "show", "r", "--json"))[1]["r"]["partitions"]
    assert (moved["committed"], moved["left"]) == (0, moved["high_watermark"])
