"""What every sink promises of reply topics: those that it was not made for."""

import asyncio
import uuid

from consumer.ports import Message
from tests.contract.publisher import Publisher
from tests.contract.worlds import PATIENCE_S, World


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
