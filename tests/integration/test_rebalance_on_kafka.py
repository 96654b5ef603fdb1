"""Consumers join and leave while records flow, on a real broker; the model counts."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Collection

import orjson
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.sink.sink import KafkaSink
from consumer.kafka.source.source import KafkaSource
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.ports import Message, TopicPartition
from consumer.replica.build import build_engine, loop_settings
from consumer.replica.kafka_publishing import kafka_publishing
from handoff.clock import SystemClock
from schemas.settings.file import GroupSettings, KafkaSettings, RouteSettings
from tests.brokers import TestBroker
from tests.counting_model import CountingModel
from tests.publishing import PublishingSink
from tests.simulated_service import URL, covers, request
from tests.waiting import within

pytestmark = pytest.mark.kafka

PARTITIONS = 6
PATIENCE_S = 60.0


class Route:
    """A route on a real broker, run in this process."""

    def __init__(self, broker: TestBroker) -> None:
        self.kafka = KafkaSettings(bootstrap=broker.bootstrap)
        prefix = f"it-{uuid.uuid4().hex[:8]}"
        self.route = RouteSettings(
            model="counting",
            requests_topic=f"{prefix}.requests",
            results_topic=f"{prefix}.results",
            dead_letters_topic=f"{prefix}.dead-letters",
            group=prefix,
            membership=GroupSettings(
                session_timeout_ms=6_000, heartbeat_interval_ms=300, rebalance_timeout_ms=10_000
            ),
        )
        self.model = CountingModel(window_records=64)
        self.members: list[ConsumerLoop] = []
        self.expected = 0
        self.allowed_twice: set[str] = set()
        self.sources: dict[str, tuple[TopicPartition, int]] = {}

    async def create_topics(self) -> None:
        route = self.route
        names = (route.requests_topic, route.results_topic, route.dead_letters_topic)
        async with TopicAdmin(self.kafka) as admin:
            await admin.ensure_topics({name: TopicInfo(PARTITIONS, 1) for name in names})

    async def publish(self, records: int, ms: float) -> None:
        sink = PublishingSink(KafkaSink(self.kafka, (self.route.requests_topic,)))
        await sink.start()
        ids = [f"r{self.expected + number}" for number in range(records)]
        topic = self.route.requests_topic
        await sink.publish([Message(topic, each.encode(), request(each, ms), []) for each in ids])
        self.expected += records
        await sink.stop()

    async def join(self) -> ConsumerLoop:
        engine = build_engine(
            route_name="it",
            route=self.route,
            urls=frozenset({URL}),
            consumer=f"consumer-{len(self.members)}",
            metadata_limit_characters=4096,
            jitter=random.Random(1),
        )
        source = KafkaSource(self.kafka, self.route)
        member = ConsumerLoop(
            engine=engine,
            source=source,
            publishing=kafka_publishing(self.kafka, self.route, engine=engine, source=source),
            model=self.model,
            clock=SystemClock(),
            settings=loop_settings(self.route),
        )
        watch_moves(member, self.allowed_twice)
        await member.start()
        self.members.append(member)
        return member

    async def leave(self, member: ConsumerLoop) -> None:
        self.members.remove(member)
        await member.drain()

    async def balanced(self) -> None:
        """Wait until every partition is assigned, and members have equal shares."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for member in self.members:
                    member.check()
                shares = [len(member.engine.partitions) for member in self.members]
                if sum(shares) == PARTITIONS and max(shares) - min(shares) <= 1:
                    return
                await asyncio.sleep(0.05)

    async def results(self, at_least: int) -> Counter[str]:
        """Read the results topic from its start, until ``at_least`` requests are answered."""
        consumer = AIOKafkaConsumer(
            self.route.results_topic,
            bootstrap_servers=self.kafka.bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        answered: Counter[str] = Counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while len(answered) < at_least:
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        self._note(records, answered)
                    for member in self.members:
                        member.check()
            # A second publication would follow.
            for records in (await consumer.getmany(timeout_ms=500)).values():
                self._note(records, answered)
        finally:
            await consumer.stop()
        return answered

    def _note(self, records: list[ConsumerRecord], answered: Counter[str]) -> None:
        for record in records:
            custom_id = orjson.loads(record.value)["custom_id"]
            answered[custom_id] += 1
            source = dict(record.headers)["headrace-source"].decode()
            topic, partition, offset = source.rsplit("/", 2)
            self.sources[custom_id] = TopicPartition(topic, int(partition)), int(offset)

    async def close(self) -> None:
        for member in list(self.members):
            await self.leave(member)


def watch_moves(member: ConsumerLoop, allowed_twice: set[str]) -> None:
    """Record what is in flight of each partition that leaves ``member``: it may be repeated."""
    assigned = member.assigned

    async def noting(partitions: Collection[TopicPartition]) -> None:
        unanswered = [
            item for call in member._calls.values() for item in call._items if item is not None
        ]
        outbox = member.engine._outbox
        queues = (*outbox._publishable.values(), *outbox._withheld.values())
        finished = [item for queue in queues for item in queue]
        await assigned(partitions)
        allowed_twice.update(
            item.custom_id or "" for item in (*unanswered, *finished) if item.assignment.revoked
        )

    member.assigned = noting  # type: ignore[method-assign]


@pytest.fixture
async def route(kafka_broker: TestBroker) -> AsyncIterator[Route]:
    route = Route(kafka_broker)
    await route.create_topics()
    yield route
    await route.close()


async def test_members_join_and_leave_in_mid_stream(route: Route, kafka_broker: TestBroker) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker refuses commits once another member has asked to join")
    await route.publish(12_000, ms=60)
    first = await route.join()
    await route.balanced()
    await asyncio.sleep(0.5)
    second = await route.join()
    await route.balanced()
    await route.join()
    await route.balanced()
    held_through_both = set(first.engine.partitions)
    assert sum(route.model.started.values()) < route.expected
    await route.leave(second)
    await route.balanced()
    answered = await route.results(route.expected)

    assert len(answered) == route.expected
    assert set(answered.values()) == {1}
    twice = {each for each, count in route.model.started.items() if count > 1}
    assert twice <= route.allowed_twice
    assert held_through_both <= set(first.engine.partitions)
    assert first.engine.counters.already_done_records == 0


async def test_a_clean_stop_and_restart_loses_and_repeats_nothing(route: Route) -> None:
    await route.publish(2_000, ms=40)
    await route.join()
    await route.balanced()
    async with asyncio.timeout(PATIENCE_S):
        while sum(route.model.computed.values()) < 200:
            await asyncio.sleep(0.02)
    await route.close()
    computed = sum(route.model.computed.values())
    assert computed < route.expected
    assert sum(route.model.started.values()) == computed
    await route.join()
    answered = await route.results(route.expected)
    assert set(answered.values()) == {1}
    assert set(route.model.started.values()) == {1}


async def test_a_member_that_vanished_is_replaced_from_its_map(route: Route) -> None:
    await route.publish(1_000, ms=50)
    first = await route.join()
    await route.balanced()
    async with within("300 completed records"):
        while first.engine.counters.completed_records < 300:
            await asyncio.sleep(0.02)
    route.members.remove(first)
    tasks = [*first._tasks, *first._calls]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    committed = await first._source.committed(first.engine.partitions)
    # The session ends without a commit, like after a kill; leaving spares the test its timeout.
    await first._source.stop()
    await first._publishing.stop()
    await route.join()
    answered = await route.results(route.expected)
    assert len(answered) == route.expected
    twice = {each for each, count in route.model.started.items() if count > 1}
    assert twice
    for custom_id in twice:
        partition, offset = route.sources[custom_id]
        assert not covers(committed[partition], offset)
