"""A deployed service, and what a producer and a reader see of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from schemas.settings.file import GroupSettings, LimitSettings, RouteSettings, Settings

PATIENCE_S = 300.0
"""Only a hung test reaches this: two cores take over a minute to start one vLLM engine."""

LARGE_TOPIC_BYTES = 104_000_000

MEMBERSHIP = GroupSettings(
    session_timeout_ms=6_000, heartbeat_interval_ms=300, rebalance_timeout_ms=15_000
)


def make_route(prefix: str, name: str, model: str) -> RouteSettings:
    """Return a route whose topics and group are named after ``prefix`` and ``name``."""
    return RouteSettings(
        model=model,
        requests_topic=f"{prefix}.{name}.requests",
        results_topic=f"{prefix}.{name}.results",
        dead_letters_topic=f"{prefix}.{name}.dead-letters",
        group=f"{prefix}.{name}",
        membership=MEMBERSHIP,
        consumer_num_cpus=0.1,
        limits=LimitSettings(max_request_bytes=1_000_000),
    )


class Service:
    """The deployed service, and what a producer and a reader see of it."""

    def __init__(self, settings: Settings, count_file: Path) -> None:
        self.settings = settings
        self.count_file = count_file

    def route(self, name: str) -> RouteSettings:
        return self.settings.routes[name]

    async def publish(
        self,
        route: str,
        values: Sequence[bytes | None],
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.kafka.bootstrap, max_request_size=LARGE_TOPIC_BYTES
        )
        await producer.start()
        topic = self.route(route).requests_topic
        for value in values:
            await producer.send(topic, value, key=b"k%d" % (id(value) % 97), headers=headers)
        await producer.stop()

    async def read(
        self, topic: str, until: Callable[[list[ConsumerRecord]], bool]
    ) -> list[ConsumerRecord]:
        """Read a topic from its start until ``until`` is true for what was read."""
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=self.settings.kafka.bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_partition_fetch_bytes=8 * 1024 * 1024,
        )
        await consumer.start()
        records: list[ConsumerRecord] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not until(records):
                    for batch in (await consumer.getmany(timeout_ms=300)).values():
                        records += batch
            for batch in (await consumer.getmany(timeout_ms=700)).values():
                records += batch
        finally:
            await consumer.stop()
        return records

    async def read_all(self, route: str) -> list[ConsumerRecord]:
        """Return the results that a route has published so far."""
        topic = self.route(route).results_topic
        records = await self.count_records(topic)
        return await self.read(topic, lambda read: len(read) >= records)

    async def count_records(self, topic: str) -> int:
        """Return how many records a topic has, by its offsets: a read could come back empty too
        early."""
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.settings.kafka.bootstrap)
        await consumer.start()
        try:
            partitions = consumer.assignment()
            assert partitions
            ends = await consumer.end_offsets(partitions)
            starts = await consumer.beginning_offsets(partitions)
        finally:
            await consumer.stop()
        return sum(ends[each] - starts[each] for each in partitions)

    def started(self) -> Counter[str]:
        lines = self.count_file.read_text().splitlines() if self.count_file.exists() else []
        return Counter(line.split()[1] for line in lines)

    def wait_until_started(self, prefix: str, records: int) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while self.started_records(prefix) < records:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)

    def started_records(self, prefix: str) -> int:
        """Return how many computations of records with that prefix began, repeats included."""
        return sum(n for each, n in self.started().items() if each.startswith(prefix))

    async def answers(self, route: str, prefix: str, records: int) -> Counter[str]:
        def answered(read: list[ConsumerRecord]) -> Counter[str]:
            ids = (orjson.loads(record.value)["custom_id"] for record in read)
            return Counter(each for each in ids if each.startswith(prefix))

        topic = self.route(route).results_topic
        return answered(await self.read(topic, lambda read: len(answered(read)) >= records))
