"""Transactions that a restart leaves: ended for their coordinator, open in a partition."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from consumer.kafka.transactions.sink import KafkaTransactionalSink
from consumer.ports import Message, OffsetAndMetadata
from consumer.ports import TopicPartition as Partition
from tests.brokers import TestBroker
from tests.contract.worlds import KafkaWorld

pytestmark = pytest.mark.kafka

ALL_OF_IT_S = 20.0
BROKER_ID = "1"


@pytest.fixture
async def world(kafka_broker: TestBroker) -> AsyncIterator[KafkaWorld]:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker keeps no account of transactions by partition")
    made = KafkaWorld(kafka_broker)
    await _verify_transactions(made, is_on=False)
    yield made
    await _verify_transactions(made, is_on=True)
    await made.close()


@pytest.fixture
async def topic(world: KafkaWorld) -> str:
    name = await world.topic()
    await world.results_topics(name)
    await world.write(name, [b"request"] * 10)
    return name


async def _verify_transactions(world: KafkaWorld, *, is_on: bool) -> None:
    """Let a partition accept what no transaction covers, or forbid it again."""
    name = "transaction.partition.verification.enable"
    async with world.admin() as admin:
        values = {name: "true" if is_on else "false"}
        resource = ConfigResource(ConfigResourceType.BROKER, BROKER_ID, values)
        responses = await admin.alter_configs([resource])
        assert [code for each in responses for code, *_ in each.resources] == [0]


def result(topic: str, value: bytes) -> Message:
    return Message(f"{topic}-results", b"k", value, [])


async def owner(world: KafkaWorld, topic: str) -> KafkaTransactionalSink:
    sink = await world.transactional_sink(topic)
    assert isinstance(sink, KafkaTransactionalSink)
    await sink.take_over([Partition(topic, 0)])
    return sink


async def leave_open(
    sink: KafkaTransactionalSink,
    topic: str,
    value: bytes | None,
    point: OffsetAndMetadata,
    *,
    kept: bool,
    results: str | None = None,
) -> None:
    """End a transaction so that its markers reach neither the results nor the offsets."""
    transactional_id = sink._ids[Partition(topic, 0)]
    await transactional_id._epochs.open(())
    await transactional_id._epochs.close(is_commit=kept)
    # The coordinator has ended it; what comes now is as if it had come before.
    results = results or f"{topic}-results"
    messages = {} if value is None else {Partition(results, 0): [result(topic, value)]}
    await transactional_id._fill(messages, point, None)


async def test_an_aborted_one_is_not_committed_with_the_next(world: KafkaWorld, topic: str) -> None:
    partition = Partition(topic, 0)
    async with asyncio.timeout(ALL_OF_IT_S):
        first = await owner(world, topic)
        await first.publish(partition, [result(topic, b"1")], OffsetAndMetadata(1, ""))
        await leave_open(first, topic, b"2, aborted", OffsetAndMetadata(2, "aborted"), kept=False)

        second = await owner(world, topic)
        assert await world.committed(topic) == OffsetAndMetadata(1, "")
        await second.publish(partition, [result(topic, b"2, again")], OffsetAndMetadata(2, "again"))

        assert await world.published(topic) == [b"1", b"2, again"]
        assert await world.committed(topic) == OffsetAndMetadata(2, "again")


async def test_a_committed_one_is_committed_before_anything_else(
    world: KafkaWorld, topic: str
) -> None:
    partition = Partition(topic, 0)
    async with asyncio.timeout(ALL_OF_IT_S):
        first = await owner(world, topic)
        await leave_open(first, topic, b"1", OffsetAndMetadata(1, "kept"), kept=True)

        second = await owner(world, topic)

        assert await world.committed(topic) == OffsetAndMetadata(1, "kept")
        assert await world.published(topic) == [b"1"]
        await second.publish(partition, [], OffsetAndMetadata(2, ""))
        assert await world.committed(topic) == OffsetAndMetadata(2, "")


@pytest.mark.parametrize("kept", [False, True])
async def test_offsets_alone_do_not_stay_undecided(
    world: KafkaWorld, topic: str, kept: bool
) -> None:
    async with asyncio.timeout(ALL_OF_IT_S):
        first = await owner(world, topic)
        await leave_open(first, topic, None, OffsetAndMetadata(4, ""), kept=kept)

        second = await owner(world, topic)

        assert await world.committed(topic) == (OffsetAndMetadata(4, "") if kept else None)
        await second.publish(Partition(topic, 0), [result(topic, b"5")], OffsetAndMetadata(5, ""))
        assert await world.published(topic) == [b"5"]


async def test_the_owner_itself_ends_it_when_it_begins_a_new_epoch(
    world: KafkaWorld, topic: str
) -> None:
    partition = Partition(topic, 0)
    async with asyncio.timeout(ALL_OF_IT_S):
        sink = await owner(world, topic)
        await leave_open(sink, topic, b"aborted", OffsetAndMetadata(1, "aborted"), kept=False)

        await sink.take_over([partition])
        await sink.publish(partition, [result(topic, b"1")], OffsetAndMetadata(1, ""))

        assert await world.published(topic) == [b"1"]


@pytest.mark.parametrize("kept", [False, True])
async def test_what_is_open_in_a_reply_topic_is_ended_by_an_owner_that_never_wrote_there(
    world: KafkaWorld, topic: str, kept: bool
) -> None:
    replies = f"reply-{topic}"
    await world.create_topic(replies, 1)
    partition = Partition(topic, 0)
    async with asyncio.timeout(ALL_OF_IT_S):
        first = await owner(world, topic)
        assert await first.find_missing([replies]) == set()  # and its leader is known
        point = OffsetAndMetadata(1, "left open")
        await leave_open(first, topic, b"first", point, kept=kept, results=replies)

        second = await owner(world, topic)

        reader = await world.join(replies)
        assert (
            await second.publish(
                partition, [Message(replies, b"k", b"second", [])], OffsetAndMetadata(2, "")
            )
            == []
        )
        read = [record.value for record in await reader.read(2 if kept else 1)]
        assert read == ([b"first", b"second"] if kept else [b"second"])
