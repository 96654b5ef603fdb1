"""What only a real broker can do to reply topics."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import NewPartitions

from consumer.kafka.client.cluster_client import ClusterClient
from consumer.kafka.replies import directory
from consumer.kafka.sink.sink import KafkaSink
from consumer.kafka.transactions import batches
from consumer.kafka.transactions.sink import KafkaTransactionalSink
from consumer.ports import Message
from tests.brokers import TestBroker
from tests.contract.publisher import Publisher
from tests.contract.test_reply_topics import reply_name, reply_topic, values_of
from tests.contract.worlds import KafkaWorld

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_broker: TestBroker) -> AsyncIterator[KafkaWorld]:
    made = KafkaWorld(kafka_broker)
    yield made
    await made.close()


def client_of(publisher: Publisher) -> ClusterClient:
    sink = publisher._plain.sink if publisher._plain is not None else publisher._transactional
    if isinstance(sink, KafkaSink):
        assert sink._replies is not None
        return sink._replies._client
    assert isinstance(sink, KafkaTransactionalSink)
    return sink._started().client


def sequences_of(publisher: Publisher) -> int:
    """The most sequence numbers that a transactional id keeps."""
    if publisher._plain is not None:
        return 0
    sink = publisher._transactional
    assert isinstance(sink, KafkaTransactionalSink)
    return max(len(each._encoder._sequences) for each in sink._ids.values())


async def test_added_partitions_are_used(world: KafkaWorld, publisher: Publisher) -> None:
    name = await reply_topic(world, 1)
    await publisher.until_taken(Message(name, None, b"before", []))
    async with world.admin() as admin:
        await admin.create_partitions({name: NewPartitions(4)})
    async with asyncio.timeout(20):
        while len(client_of(publisher).cluster.partitions_for_topic(name) or ()) < 4:
            # It is noticed within a minute; the test need not wait for that.
            await client_of(publisher).learn_leaders()
    for _ in range(8):
        messages = [Message(name, None, b"after", []) for _ in range(64)]
        assert await publisher.publish(messages) == []
    records = await (await world.join(name)).read(513)
    assert {record.partition.partition for record in records} == {0, 1, 2, 3}


async def test_many_topics_come_and_go_and_little_is_kept_of_them(
    world: KafkaWorld, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MOST_TOPICS", 4)
    monkeypatch.setattr(batches, "MOST_PARTITIONS", 4)
    names = [await reply_topic(world) for _ in range(20)]
    for number in range(3):
        for name in names:
            await publisher.until_taken(Message(name, b"k", b"%d" % number, []))
    client = client_of(publisher)
    assert sequences_of(publisher) <= 4 + 1
    assert len(client._client._topics) <= 4 + 2
    await client.learn_leaders()
    assert len(client.cluster.topics()) <= 4 + 2
    for name in names:
        assert await values_of(world, name, 3) == [b"0", b"1", b"2"]


async def test_nobody_creates_a_topic_that_a_request_names(
    world: KafkaWorld, publisher: Publisher
) -> None:
    name = await reply_topic(world)
    await publisher.until_taken(Message(name, b"k", b"before", []))
    await world.delete_topic(name)
    await publisher.until_missing(Message(name, b"k", b"after", []))
    other = reply_name()
    for _ in range(3):
        assert (await publisher.publish([Message(other, b"k", b"v", [])]))[0].is_missing
    await asyncio.sleep(1.0)
    assert await publisher.find_missing(name, other) == {name, other}
