"""The two worlds of the contract tests: the broker in memory, and a real one."""

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.client.connection import client_options
from consumer.kafka.sink.partitioning import partition_of_key
from consumer.kafka.sink.sink import KafkaSink
from consumer.kafka.source.source import KafkaSource
from consumer.kafka.transactions.sink import KafkaTransactionalSink
from consumer.ports import (
    Message,
    OffsetAndMetadata,
    Record,
    RecordSource,
    ResultSink,
    SourceError,
    TopicPartition,
    TransactionalSink,
)
from schemas.settings.file import KafkaSettings, RouteSettings
from tests.brokers import TestBroker
from tests.memory.broker import MemoryBroker
from tests.memory.sink import MemorySink
from tests.memory.source import MemorySource
from tests.memory.transactions import MemoryTransactionalSink
from tests.publishing import PublishingSink

PATIENCE_S = 20.0

StartFrom = Literal["earliest", "latest"]


class Member:
    """A source in its group, and its listener's events."""

    def __init__(self, source: RecordSource) -> None:
        self.source = source
        self.events: list[str] = []
        self.assignment: frozenset[TopicPartition] = frozenset()
        self.on_revoking: Callable[[], object] = lambda: None

    async def revoking(self) -> None:
        self.events.append("revoking")
        pending = self.on_revoking()
        if asyncio.iscoroutine(pending):
            await pending

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        for partition, point in (await self.source.committed(partitions)).items():
            if point is not None:
                self.source.seek(partition, point.offset)
        # Together, and last: a test that waits for the assignment counts the events.
        self.assignment = frozenset(partitions)
        self.events.append("assigned")

    async def until(self, condition: Callable[["Member"], bool]) -> None:
        """Wait for a rebalance that makes ``condition`` true, polling like a consumer loop."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(self):
                await self.source.poll((), 1, 0.02)

    async def read(self, count: int, max_records: int = 500) -> list[Record]:
        """Poll until ``count`` records have come."""
        records: list[Record] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(records) < count:
                records += await self.source.poll(sorted(self.assignment), max_records, 0.5)
        return records


class World(ABC):
    """Makes topics, sources and sinks, and ends them after the test."""

    is_faithful = True
    """Whether it keeps Kafka's promises exactly; the embedded broker does not."""

    def __init__(self) -> None:
        self._sources: list[RecordSource] = []
        self._sinks: list[PublishingSink | TransactionalSink] = []

    @abstractmethod
    def make_source(
        self, topic: str, group: str, start_from: StartFrom, rebalance_timeout_s: float
    ) -> RecordSource: ...

    @abstractmethod
    def make_sink(self, topic: str) -> ResultSink: ...

    @abstractmethod
    def make_transactional_sink(self, topic: str, group: str) -> TransactionalSink: ...

    @abstractmethod
    async def move_log_start(self, partition: TopicPartition, offset: int) -> None:
        """Delete the records below ``offset``, as retention does."""

    @abstractmethod
    async def leave_gap(self, partition: TopicPartition) -> None:
        """Use up offsets at the log's end without a record to deliver."""

    async def join(
        self,
        topic: str,
        group: str = "g",
        start_from: StartFrom = "earliest",
        rebalance_timeout_s: float = 30.0,
    ) -> Member:
        """Start a source and wait for its first assignment."""
        source = self.make_source(topic, f"{topic}-{group}", start_from, rebalance_timeout_s)
        member = Member(source)
        self._sources.append(member.source)
        await asyncio.wait_for(member.source.start(member), PATIENCE_S)
        await member.until(lambda it: bool(it.events))
        return member

    async def sink(self, topic: str) -> PublishingSink:
        sink = PublishingSink(self.make_sink(topic))
        self._sinks.append(sink)
        await sink.start()
        return sink

    async def transactional_sink(self, topic: str, group: str = "g") -> TransactionalSink:
        """Start a sink for the outcomes of a group that reads ``topic``."""
        sink = self.make_transactional_sink(topic, f"{topic}-{group}")
        self._sinks.append(sink)
        await sink.start()
        return sink

    async def results_topics(self, topic: str, partitions: int = 2) -> tuple[str, str]:
        """Create the topics that ``make_route`` names for ``topic``."""
        names = f"{topic}-results", f"{topic}-dead-letters"
        for name in names:
            await self.create_topic(name, partitions)
        return names

    @abstractmethod
    async def create_topic(
        self, name: str, partitions: int, max_message_bytes: int | None = None
    ) -> None: ...

    @abstractmethod
    async def delete_topic(self, name: str) -> None: ...

    async def create_again(self, name: str, partitions: int) -> None:
        """Create a topic whose deletion may not have ended yet."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await self.create_topic(name, partitions)
                    if await self.partition_count(name) == partitions:
                        return
                except (SourceError, AssertionError):
                    await asyncio.sleep(0.1)

    async def topic(self, partitions: int = 1, max_message_bytes: int | None = None) -> str:
        name = f"t-{uuid.uuid4().hex[:8]}"
        await self.create_topic(name, partitions, max_message_bytes)
        return name

    async def write(self, topic: str, values: Sequence[bytes | None], partition: int = 0) -> None:
        """Publish into a partition of a topic that has up to four."""
        sink = await self.sink(topic)
        count = await self.partition_count(topic)
        key = next(k for n in range(999) if partition_of_key(k := b"%d" % n, count) == partition)
        messages = [Message(topic, key, value, []) for value in values]
        assert await sink.publish(messages) == []

    @abstractmethod
    async def partition_count(self, topic: str) -> int: ...

    async def published(self, topic: str) -> list[bytes]:
        """Return what a ``read_committed`` reader finds on the results topic of ``topic``.

        In the order of each partition.
        """
        results_topic = f"{topic}-results"
        end = f"end-{uuid.uuid4().hex}".encode()
        partitions = await self.partition_count(results_topic)
        for partition in range(partitions):
            await self.write(results_topic, [end], partition)
        reader = await self.join(results_topic, group=end.decode())
        values: list[bytes] = []
        async with asyncio.timeout(PATIENCE_S):
            while values.count(end) < partitions:
                values += [record.value or b"" for record in await reader.read(1)]
        return [value for value in values if not value.startswith(b"end-")]

    async def committed(self, topic: str) -> OffsetAndMetadata | None:
        """Return what the group's next member reads as committed for partition 0."""
        member = await self.join(topic)
        partition = TopicPartition(topic, 0)
        return (await member.source.committed([partition]))[partition]

    async def close(self) -> None:
        for part in (*self._sources, *self._sinks):
            await part.stop()


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker()

    async def create_topic(
        self, name: str, partitions: int, max_message_bytes: int | None = None
    ) -> None:
        self.broker.create_topic(name, partitions, max_message_bytes or 1024 * 1024)

    async def delete_topic(self, name: str) -> None:
        self.broker.delete_topic(name)

    async def partition_count(self, topic: str) -> int:
        return len(self.broker.partitions(topic))

    def make_source(
        self, topic: str, group: str, start_from: StartFrom, rebalance_timeout_s: float
    ) -> RecordSource:
        return MemorySource(
            self.broker,
            topic,
            group,
            start_from=start_from,
            rebalance_timeout_s=rebalance_timeout_s,
        )

    async def move_log_start(self, partition: TopicPartition, offset: int) -> None:
        self.broker.log(partition).move_start(offset)

    async def leave_gap(self, partition: TopicPartition) -> None:
        self.broker.log(partition).skip(2)

    def make_sink(self, topic: str) -> ResultSink:
        return MemorySink(self.broker, [topic])

    def make_transactional_sink(self, topic: str, group: str) -> TransactionalSink:
        own_topics = f"{topic}-results", f"{topic}-dead-letters"
        return MemoryTransactionalSink(self.broker, group, topics=own_topics)


class KafkaWorld(World):
    def __init__(self, broker: TestBroker) -> None:
        super().__init__()
        self.broker = broker
        self.is_faithful = broker.is_apache_kafka
        self.settings = KafkaSettings(bootstrap=broker.bootstrap)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        client = AIOKafkaAdminClient(**client_options(self.settings))
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    async def create_topic(
        self, name: str, partitions: int, max_message_bytes: int | None = None
    ) -> None:
        async with TopicAdmin(self.settings) as admin:
            await admin.ensure_topics({name: TopicInfo(partitions, 1)})

    async def set_topic(self, name: str, values: dict[str, str]) -> None:
        """Change settings of a topic; return when the broker applies what the controller took."""
        kind = ConfigResourceType.TOPIC
        asked = ConfigResource(kind, name, dict.fromkeys(values))
        async with self.admin() as admin, asyncio.timeout(PATIENCE_S):
            await admin.alter_configs([ConfigResource(kind, name, values)])
            while self.is_faithful:
                responses = await admin.describe_configs([asked])
                entries = [each for found in responses for each in found.resources[0][4]]
                if {key: value for key, value, *_ in entries}.items() >= values.items():
                    return
                await asyncio.sleep(0.05)

    async def delete_topic(self, name: str) -> None:
        async with self.admin() as admin:
            await admin.delete_topics([name])

    async def partition_count(self, topic: str) -> int:
        async with TopicAdmin(self.settings) as admin:
            info = (await admin.describe_topics([topic]))[topic]
        assert info is not None
        return info.partitions

    def make_source(
        self, topic: str, group: str, start_from: StartFrom, rebalance_timeout_s: float
    ) -> RecordSource:
        route = make_route(topic, group, start_from, rebalance_timeout_s)
        return KafkaSource(self.settings, route)

    async def move_log_start(self, partition: TopicPartition, offset: int) -> None:
        async with self.admin() as admin:
            await admin.delete_records({KafkaPartition(*partition): RecordsToDelete(offset)})

    async def leave_gap(self, partition: TopicPartition) -> None:
        # An aborted record and its marker: neither is delivered.
        async with AIOKafkaProducer(
            **client_options(self.settings), transactional_id=f"gap-{uuid.uuid4().hex}"
        ) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(partition.topic, b"aborted", partition=partition.partition)
            await producer.abort_transaction()

    def make_sink(self, topic: str) -> ResultSink:
        return KafkaSink(self.settings, [topic])

    def make_transactional_sink(self, topic: str, group: str) -> TransactionalSink:
        return KafkaTransactionalSink(self.settings, make_route(topic, group))


def aiokafka_consumer(member: Member) -> AIOKafkaConsumer:
    """Return the consumer that a member on a real broker reads with."""
    assert isinstance(member.source, KafkaSource)
    return member.source._started().consumer


def make_route(
    topic: str,
    group: str,
    start_from: StartFrom = "earliest",
    rebalance_timeout_s: float = 30.0,
    session_timeout_ms: int = 6_000,
) -> RouteSettings:
    """A route whose members notice a rebalance soon."""
    return RouteSettings.model_validate(
        {
            "model": "m",
            "requests_topic": topic,
            "results_topic": f"{topic}-results",
            "dead_letters_topic": f"{topic}-dead-letters",
            "group": group,
            "reply_topics": ["reply-*"],
            "start_from": start_from,
            "membership": {
                "session_timeout_ms": session_timeout_ms,
                "heartbeat_interval_ms": 100,
                "rebalance_timeout_ms": round(rebalance_timeout_s * 1000),
            },
        }
    )
