"""What every sink promises of reply topics: those that it was not made for."""

import asyncio
import uuid
from collections.abc import Sequence

import pytest

from consumer.ports import Message, OffsetAndMetadata, Rejection
from consumer.ports import TopicPartition as Partition
from tests.contract.worlds import PATIENCE_S, World
from tests.publishing import PublishingSink


class Publisher:
    """A sink of either kind, and an own topic of it."""

    def __init__(self, world: World, requests: str, *, in_transactions: bool) -> None:
        self.world = world
        self.requests = Partition(requests, 0)
        self.own = f"{requests}-results"
        self._in_transactions = in_transactions
        self._published = 0
        self._plain: PublishingSink | None = None

    async def start(self) -> None:
        if self._in_transactions:
            self._transactional = await self.world.transactional_sink(self.requests.topic)
            await self._transactional.take_over([self.requests])
        else:
            self._plain = await self.world.sink(self.own)

    async def publish(self, messages: Sequence[Message]) -> list[Rejection]:
        """Publish, and leave out what is refused, as the engine does; return all refusals."""
        refused: list[Rejection] = []
        async with asyncio.timeout(PATIENCE_S):
            while True:
                gone = [each.message[:4] for each in refused]
                left = [each for each in messages if each[:4] not in gone]
                if self._plain is not None:
                    return await self._plain.publish(left)
                self._published += 1
                point = OffsetAndMetadata(self._published, "")
                rejections = await self._transactional.publish(self.requests, left, point)
                if not rejections:
                    return refused
                refused += rejections

    async def find_missing(self, *topics: str) -> set[str]:
        sink = self._plain.sink if self._plain is not None else self._transactional
        return await sink.find_missing(topics)

    async def until_taken(self, message: Message) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.publish([message]):
                await asyncio.sleep(0.2)

    async def until_missing(self, message: Message) -> int:
        """Publish until the topic is missing; return how often it was taken before."""
        taken = 0
        async with asyncio.timeout(PATIENCE_S):
            while True:
                rejections = await self.publish([message])
                if rejections and rejections[0].is_missing:
                    return taken
                taken += not rejections
                await asyncio.sleep(0.1)


@pytest.fixture(params=["at_least_once", "exactly_once"])
async def publisher(request: pytest.FixtureRequest, world: World) -> Publisher:
    requests = await world.topic()
    await world.results_topics(requests, partitions=1)
    made = Publisher(world, requests, in_transactions=request.param == "exactly_once")
    await made.start()
    return made


def reply_name() -> str:
    return f"reply-{uuid.uuid4().hex[:8]}"


async def reply_topic(world: World, partitions: int = 1, limit: int | None = None) -> str:
    name = reply_name()
    await world.create_topic(name, partitions, limit)
    return name


async def values_of(world: World, topic: str, count: int) -> list[bytes | None]:
    return [record.value for record in await (await world.join(topic)).read(count)]


async def test_results_arrive_in_the_order_of_their_keys(
    world: World, publisher: Publisher
) -> None:
    first, second = await reply_topic(world, 2), await reply_topic(world)
    for base in (0, 100):
        messages = [
            Message(first if n % 2 else second, b"k", b"%d" % n, [("h", b"1")])
            for n in range(base, base + 100)
        ]
        assert await publisher.publish(messages) == []
    odd, even = [b"%d" % n for n in range(1, 200, 2)], [b"%d" % n for n in range(0, 200, 2)]
    assert await values_of(world, first, 100) == odd
    assert await values_of(world, second, 100) == even


async def test_a_missing_topic_costs_its_own_messages_only(
    world: World, publisher: Publisher
) -> None:
    there, missing = await reply_topic(world), reply_name()
    messages = [
        Message(missing, b"k", b"lost", []),
        Message(publisher.own, b"k", b"own", []),
        Message(there, b"k", b"there", []),
        Message(missing, None, b"lost too", []),
    ]
    rejections = await publisher.publish(messages)
    assert [each.message.value for each in rejections] == [b"lost", b"lost too"]
    assert all(each.is_missing and missing in each.reason for each in rejections)
    assert await values_of(world, there, 1) == [b"there"]
    assert await values_of(world, publisher.own, 1) == [b"own"]
    assert await publisher.find_missing(missing) == {missing}, "nobody has created it"


async def test_a_topic_is_found_soon_after_it_was_made(world: World, publisher: Publisher) -> None:
    name = reply_name()
    assert await publisher.find_missing(name) == {name}
    assert (await publisher.publish([Message(name, b"k", b"early", [])]))[0].is_missing
    await world.create_topic(name, 2)
    async with asyncio.timeout(PATIENCE_S):
        while await publisher.find_missing(name, reply_name()) & {name}:
            await asyncio.sleep(0.05)
    await publisher.until_taken(Message(name, b"k", b"late", []))
    assert await values_of(world, name, 1) == [b"late"]


async def test_a_topic_may_be_deleted_and_made_again_with_fewer_partitions(
    world: World, publisher: Publisher
) -> None:
    name = await reply_topic(world, 4)
    await publisher.until_taken(Message(name, b"k3", b"first", []))
    await world.delete_topic(name)
    await publisher.until_missing(Message(name, b"k3", b"between", []))
    assert await publisher.publish([Message(publisher.own, b"k", b"own", [])]) == []
    await world.create_again(name, 1)
    for number in range(4):
        await publisher.until_taken(Message(name, b"k%d" % number, b"last", []))
    assert await values_of(world, name, 4) == [b"last"] * 4


async def test_a_message_that_is_too_large_costs_nobody_else(
    world: World, publisher: Publisher
) -> None:
    name = await reply_topic(world)
    large = Message(name, b"k", b"x" * (2 * 1024 * 1024), [])
    messages = [Message(name, b"k", b"a", []), large, Message(name, b"k", b"b", [])]
    (rejection,) = await publisher.publish(messages)
    assert rejection.is_too_large
    assert name in rejection.reason
    assert await values_of(world, name, 2) == [b"a", b"b"]
