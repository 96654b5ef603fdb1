"""Consumers that are killed while they answer on reply topics, of which some go meanwhile."""

import asyncio
import json
import random
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.client.connection import client_options
from schemas.settings.file import KafkaSettings
from schemas.wire.headers import REPLY_TOPIC
from tests.brokers import TestBroker
from tests.integration.reply_member import URL

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
RECORDS = 1_200
MOST_UNSEEN = 60
PARTITIONS = 2


class Service:
    """A route on a real broker, and its one consumer, a process."""

    def __init__(self, kafka: KafkaSettings, delivery: str) -> None:
        self.kafka = kafka
        prefix = f"replies-{uuid.uuid4().hex[:8]}"
        self.kept, self.deleted, self.missing = (f"{prefix}.to-{n}" for n in range(3))
        self.route = {
            "model": "m",
            "requests_topic": f"{prefix}.in",
            "results_topic": f"{prefix}.out",
            "dead_letters_topic": f"{prefix}.dead",
            "reply_topics": [f"{prefix}.to-*"],
            "group": prefix,
            "delivery": delivery,
            "membership": {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 300},
            "transactions": {"timeout_ms": 10_000},
        }
        self.expected: dict[str, set[str]] = {}
        self._process: asyncio.subprocess.Process | None = None

    async def prepare(self) -> None:
        own = ("requests_topic", "results_topic", "dead_letters_topic")
        names = [str(self.route[each]) for each in own]
        async with TopicAdmin(self.kafka) as admin:
            await admin.ensure_topics(
                dict.fromkeys([*names, self.kept, self.deleted], TopicInfo(PARTITIONS, 1))
            )
        async with AIOKafkaProducer(**client_options(self.kafka)) as producer:
            targets = [self.kept, self.deleted, self.missing, None]
            for number in range(RECORDS):
                target = targets[number % 4]
                name = f"r{number}"
                self.expected.setdefault(target or "own", set()).add(name)
                line = {"custom_id": name, "url": URL, "body": {"ms": 20 + number * 2}}
                await producer.send(
                    names[0],
                    orjson.dumps(line),
                    key=name.encode(),
                    headers=[] if target is None else [(REPLY_TOPIC, target.encode())],
                )

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.reply_member",
            stdin=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        config = {"kafka": self.kafka.model_dump(mode="json"), "route": self.route}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(config).encode())
        self._process.stdin.close()

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def delete(self, topic: str) -> None:
        admin = AIOKafkaAdminClient(**client_options(self.kafka))
        await admin.start()
        try:
            await admin.delete_topics([topic])
        finally:
            await admin.close()

    async def read(self, topic: str) -> list[dict[str, Any]]:
        """Return what a ``read_committed`` reader finds."""
        consumer = AIOKafkaConsumer(**client_options(self.kafka), isolation_level="read_committed")
        await consumer.start()
        try:
            assigned = [KafkaPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(assigned)
            await consumer.seek_to_beginning(*assigned)
            ends = await consumer.end_offsets(assigned)
            lines = []
            while any([await consumer.position(each) < ends[each] for each in assigned]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    lines += [orjson.loads(record.value) for record in records]
            return lines
        finally:
            await consumer.stop()


@pytest.fixture(params=["at_least_once", "exactly_once"])
async def service(
    request: pytest.FixtureRequest, kafka_broker: TestBroker
) -> AsyncIterator[Service]:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker keeps no promise about transactions")
    made = Service(KafkaSettings(bootstrap=kafka_broker.bootstrap), request.param)
    await made.prepare()
    yield made
    await made.kill()


def ids(lines: list[dict[str, Any]], code: str | None = None) -> Counter[str]:
    return Counter(
        line["custom_id"]
        for line in lines
        if code is None or (line["error"] or {"code": None})["code"] == code
    )


async def test_each_result_is_where_it_was_asked_for_once_whatever_is_killed(
    service: Service,
) -> None:
    randomly = random.Random(19)
    results_topic = str(service.route["results_topic"])
    given_up: set[str] = set()
    taken: Counter[str] = Counter()
    async with asyncio.timeout(150):
        await service.start()
        for turn in range(3):
            seen = len(await service.read(service.kept))
            while len(await service.read(service.kept)) <= min(seen + 20, 250):
                await asyncio.sleep(0.1)
            if turn == 1:
                taken = ids(await service.read(service.deleted))
                await service.delete(service.deleted)
            await asyncio.sleep(randomly.uniform(0.0, 0.3))
            await service.kill()
            await service.start()
        wanted = service.expected["own"] | service.expected[service.missing]
        while True:
            lines = await service.read(results_topic)
            given_up = set(ids(lines, "reply_topic_missing"))
            kept = ids(await service.read(service.kept))
            done = set(ids(lines)) >= wanted and set(kept) >= service.expected[service.kept]
            # Between the last look and its end, the topic may have taken some more.
            left = service.expected[service.deleted] - given_up - set(taken)
            if done and len(left) < MOST_UNSEEN:
                break
            await asyncio.sleep(0.5)
    assert set(kept) == service.expected[service.kept]
    assert given_up >= service.expected[service.missing]
    assert set(ids(lines)) - given_up == service.expected["own"]
    if service.route["delivery"] == "exactly_once":
        assert set(kept.values()) == set(ids(lines).values()) == {1}
        assert not given_up & set(taken)
