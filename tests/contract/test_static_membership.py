"""Static members on a real broker: they come back, they leave, and the newest holder stays."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import NewPartitions

from consumer.kafka.client import internals
from consumer.kafka.source.source import KafkaSource
from consumer.ports import CommitRefusedError, OffsetAndMetadata, SourceError
from consumer.ports import TopicPartition as Partition
from tests.brokers import TestBroker
from tests.contract.worlds import PATIENCE_S, KafkaWorld, Member, aiokafka_consumer, make_route

pytestmark = pytest.mark.kafka

SESSION_TIMEOUT_MS = 60_000
"""Longer than any wait here: a test that ends did not wait for a session to expire."""


@pytest.fixture
async def world(kafka_broker: TestBroker) -> AsyncIterator[KafkaWorld]:
    made = KafkaWorld(kafka_broker)
    yield made
    await made.close()


async def join(world: KafkaWorld, topic: str, instance_id: str) -> Member:
    route = make_route(topic, f"{topic}-g", session_timeout_ms=SESSION_TIMEOUT_MS)
    source = KafkaSource(world.settings, route, group_instance_id=instance_id)
    member = Member(source)
    world._sources.append(source)
    await asyncio.wait_for(source.start(member), PATIENCE_S)
    await member.until(lambda it: bool(it.events))
    return member


def generation(member: Member) -> int:
    return internals.generation(aiokafka_consumer(member))


async def die(member: Member) -> None:
    """End without leaving, like kill -9; aiokafka's own stop of a static member does that."""
    await aiokafka_consumer(member).stop()


async def poll_until_it_fails(member: Member) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await member.source.poll(sorted(member.assignment), 10, 0.1)


async def test_a_killed_member_has_its_partitions_back_at_once_and_nobody_else_notices(
    world: KafkaWorld,
) -> None:
    topic = await world.topic(partitions=4)
    first, second = await join(world, topic, "i-0"), await join(world, topic, "i-1")
    await first.until(lambda it: len(it.assignment) == 2)
    await second.until(lambda it: len(it.assignment) == 2)
    before = generation(first)
    events = len(first.events)

    await die(second)
    again = await join(world, topic, "i-1")

    assert again.assignment == second.assignment
    assert generation(again) == before
    await first.source.poll((), 1, 0.5)
    assert len(first.events) == events
    partition = min(again.assignment)
    await world.write(topic, [b"x"] * 3, partition.partition)
    assert len(await again.read(3)) == 3
    await again.source.commit({partition: OffsetAndMetadata(3, "m")})
    assert (await again.source.committed([partition]))[partition] == OffsetAndMetadata(3, "m")


async def test_the_groups_leader_may_be_killed_and_come_back(world: KafkaWorld) -> None:
    topic = await world.topic(partitions=2)
    leader = await join(world, topic, "i-0")
    before = generation(leader)
    await die(leader)

    again = await join(world, topic, "i-0")

    assert generation(again) == before
    other = await join(world, topic, "i-1")
    await again.until(lambda it: len(it.assignment) == 1)
    await other.until(lambda it: len(it.assignment) == 1)
    assert again.assignment | other.assignment == {Partition(topic, 0), Partition(topic, 1)}


async def test_a_leader_that_came_back_notices_added_partitions(world: KafkaWorld) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker cannot add partitions to a topic")
    topic = await world.topic(partitions=2)
    await die(await join(world, topic, "i-0"))
    again = await join(world, topic, "i-0")
    async with world.admin() as admin:
        await admin.create_partitions({topic: NewPartitions(3)})

    async with asyncio.timeout(PATIENCE_S):
        while len(again.assignment) < 3:
            await aiokafka_consumer(again)._client.force_metadata_update()
            await again.source.poll((), 1, 0.2)


async def test_a_member_that_stops_leaves_the_group(world: KafkaWorld) -> None:
    topic = await world.topic(partitions=2)
    first, second = await join(world, topic, "i-0"), await join(world, topic, "i-1")
    await first.until(lambda it: len(it.assignment) == 1)

    await second.source.stop()

    await first.until(lambda it: len(it.assignment) == 2)


async def test_of_two_holders_of_an_instance_id_the_older_fails_and_the_newer_stays(
    world: KafkaWorld,
) -> None:
    topic = await world.topic(partitions=2)
    older = await join(world, topic, "i-0")
    newer = await join(world, topic, "i-0")

    with pytest.raises((CommitRefusedError, SourceError)):
        await older.source.commit({Partition(topic, 0): OffsetAndMetadata(1, "of the older")})
    with pytest.raises(SourceError, match="another consumer has joined as instance i-0"):
        await poll_until_it_fails(older)
    await asyncio.wait_for(older.source.stop(), 6)

    await world.write(topic, [b"x"] * 3, 0)
    assert len(await newer.read(3)) == 3
    await newer.source.commit({Partition(topic, 0): OffsetAndMetadata(3, "of the newer")})
    if world.is_faithful:  # the embedded broker makes the group join again for a successor
        assert newer.events == ["assigned"]
    assert (await newer.source.committed([Partition(topic, 0)]))[Partition(topic, 0)] == (
        OffsetAndMetadata(3, "of the newer")
    )
