"""A broker dies in the middle of transactions and returns after their timeout."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.transactions.epochs import Epochs
from consumer.kafka.transactions.sink import KafkaTransactionalSink
from consumer.ports import Message, OffsetAndMetadata, TopicPartition
from schemas.settings.file import KafkaSettings, RouteSettings
from tests.brokers import kafka_home_needed
from tests.chaos.stage.cluster import Cluster

pytestmark = kafka_home_needed("kills a broker of its own")

PARTITIONS = 4
TIMEOUT_MS = 3000
METADATA_LIMIT_CHARACTERS = 4096


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path / "kafka", 1, METADATA_LIMIT_CHARACTERS)
    await made.start()
    yield made
    await made.stop()


class Hold:
    """Stops every transaction before its end, until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held = 0
        self.released = asyncio.Event()
        close = Epochs.close

        async def held_close(epochs: Epochs, *, is_commit: bool) -> None:
            self.held += 1
            await self.released.wait()
            await close(epochs, is_commit=is_commit)

        monkeypatch.setattr(Epochs, "close", held_close)


async def read_committed(bootstrap: str, partitions: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        assigned = [KafkaPartition("results", number) for number in range(partitions)]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        ends = await consumer.end_offsets(assigned)
        values: list[bytes] = []
        while any([await consumer.position(each) < ends[each] for each in assigned]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                values += [record.value for record in records]
        return values
    finally:
        await consumer.stop()


async def test_its_transactions_take_effect_once_and_their_owner_goes_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = KafkaSettings(bootstrap=cluster.bootstrap)
    route = RouteSettings.model_validate(
        {
            "model": "m",
            "requests_topic": "requests",
            "results_topic": "results",
            "dead_letters_topic": "dead",
            "group": "g",
            "transactions": {"timeout_ms": TIMEOUT_MS},
        }
    )
    async with TopicAdmin(settings) as admin:
        info = TopicInfo(PARTITIONS, 1)
        await admin.ensure_topics({"requests": info, "results": info, "dead": info})
    partitions = [TopicPartition("requests", number) for number in range(PARTITIONS)]
    sink = KafkaTransactionalSink(settings, route)
    await sink.start()

    async def publish(partition: TopicPartition, number: int) -> None:
        value = b"%d-%d" % (partition.partition, number)
        message = Message("results", value, value, [])
        assert await sink.publish(partition, [message], OffsetAndMetadata(number, "")) == []

    async def publish_all(number: int) -> None:
        await asyncio.gather(*(publish(partition, number) for partition in partitions))

    try:
        async with asyncio.timeout(90):
            await sink.take_over(partitions)
            await publish_all(1)
            hold = Hold(monkeypatch)
            second = asyncio.create_task(publish_all(2))
            while hold.held < PARTITIONS:
                await asyncio.sleep(0.01)
            (node,) = cluster.nodes
            node.kill()
            await asyncio.sleep(TIMEOUT_MS / 1000)
            await cluster.restart(node)
            hold.released.set()
            await second
            await publish_all(3)

            expected = sorted(b"%d-%d" % (p, n) for p in range(PARTITIONS) for n in (1, 2, 3))
            assert sorted(await read_committed(cluster.bootstrap, PARTITIONS)) == expected
    finally:
        await sink.stop()
