"""What the adapters report that they wait for, on a real broker."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaProducer

from consumer.engine.waiting.waits import open_transaction, topic_gone
from consumer.kafka.admin.group_lags import GroupLags
from consumer.kafka.client.connection import client_options
from consumer.ports import Message
from consumer.ports import TopicPartition as Partition
from handoff.clock import SystemClock
from headrace.status.lag import read_lags
from headrace.status.open_transactions import OpenTransactionLines
from schemas.settings.file import Settings
from schemas.settings.models import EmbedderSettings
from tests.brokers import TestBroker
from tests.contract.worlds import PATIENCE_S, KafkaWorld, make_route

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_broker: TestBroker) -> AsyncIterator[KafkaWorld]:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker neither deletes topics nor holds readers back")
    made = KafkaWorld(kafka_broker)
    yield made
    await made.close()


async def until_told(waits: Callable[[], list[str]], line: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while line not in waits():
            await asyncio.sleep(0.05)


async def test_a_results_topic_that_is_gone(world: KafkaWorld) -> None:
    topic = await world.topic()
    sink = await world.sink(topic)
    await sink.publish([Message(topic, b"k", b"there", [])])
    assert sink.waits() == []
    await world.delete_topic(topic)

    publishing = asyncio.create_task(sink.publish([Message(topic, b"k", b"nowhere", [])]))
    try:
        await until_told(sink.waits, topic_gone(topic))
        assert not publishing.done()
    finally:
        publishing.cancel()
        await asyncio.wait([publishing])


async def test_a_transaction_that_is_left_open(world: KafkaWorld) -> None:
    topic = await world.topic()
    await world.write(topic, [b"x"] * 4)
    settings = Settings(
        kafka=world.settings,
        models={"m": EmbedderSettings(kind="embedder", source="wheel:x")},
        routes={"r": make_route(topic, f"{topic}-g")},
    )
    lines = OpenTransactionLines(settings, SystemClock())
    async with AIOKafkaProducer(
        **client_options(world.settings), transactional_id=f"open-{uuid.uuid4().hex}"
    ) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"undecided", partition=0)
        await world.write(topic, [b"x"] * 3)
        member = await world.join(topic)
        await member.read(4)

        async def keep_reading() -> None:
            while True:
                await member.source.poll(sorted(member.assignment), 10, 0.1)

        reading = asyncio.create_task(keep_reading())
        await until_told(member.source.waits, open_transaction(topic, 0, 4, 4))
        async with GroupLags(world.settings) as group_lags:
            (told,) = (await lines.of(await read_lags(group_lags, settings)))["r"]
        await producer.commit_transaction()
        async with asyncio.timeout(PATIENCE_S):
            while member.source.waits():
                await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.wait([reading])

    assert told.startswith(f"{topic}/0 is held at offset 4 by an open transaction: 4 records ")
    assert f"abort --topic {topic} --partition 0 --start-offset 4`" in told
    assert Partition(topic, 0) in member.assignment
