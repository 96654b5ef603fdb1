"""What every ResultSink promises."""

import asyncio

import pytest

from consumer.kafka.sink.partitioning import partition_of_key
from consumer.ports import Message, SourceError
from tests.contract.worlds import World
from tests.publishing import positions


async def test_what_is_acknowledged_can_be_read(world: World) -> None:
    topic = await world.topic(partitions=3)
    sink = await world.sink(topic)
    messages = [Message(topic, b"key-%d" % n, b"%d" % n, []) for n in range(1000)]

    assert await sink.publish(messages) == []

    records = await (await world.join(topic)).read(1000)
    assert sorted(int(record.value or b"") for record in records) == list(range(1000))
    for record in records:
        assert record.partition.partition == partition_of_key(record.key or b"", 3)


async def test_messages_of_a_key_keep_their_order_over_many_calls(world: World) -> None:
    topic = await world.topic(partitions=2)
    sink = await world.sink(topic)

    await asyncio.gather(*(sink.publish([Message(topic, b"k", b"%d" % n, [])]) for n in range(200)))

    records = await (await world.join(topic)).read(200)
    assert [record.value for record in records] == [b"%d" % n for n in range(200)]


async def test_messages_without_a_key_use_every_partition(world: World) -> None:
    topic = await world.topic(partitions=3)
    sink = await world.sink(topic)

    for _ in range(6):
        await sink.publish([Message(topic, None, b"x", []) for _ in range(50)])

    records = await (await world.join(topic)).read(300)
    counts = [sum(r.partition.partition == number for r in records) for number in range(3)]
    assert counts == [100, 100, 100]


async def test_a_message_over_the_limit_is_rejected_and_its_neighbours_arrive(world: World) -> None:
    topic = await world.topic()
    sink = await world.sink(topic)
    messages = [
        Message(topic, b"k", b"a", []),
        Message(topic, b"k", b"x" * (2 * 1024 * 1024), []),
        Message(topic, b"k", b"b", []),
        Message(topic, b"k", b"c", [("h", b"x" * (1024 * 1024 + 1))]),
        Message(topic, b"k", b"d", []),
    ]

    rejections = await sink.publish(messages)

    assert positions(rejections, messages) == [1, 3]
    assert all(topic in rejection.reason for rejection in rejections)
    records = await (await world.join(topic)).read(3)
    assert [record.value for record in records] == [b"a", b"b", b"d"]


async def test_a_message_at_the_limit_arrives(world: World) -> None:
    topic = await world.topic()
    sink = await world.sink(topic)
    value = b"x" * (1024 * 1024 - 200)

    assert await sink.publish([Message(topic, b"k", value, [])]) == []

    assert (await (await world.join(topic)).read(1))[0].value == value


async def test_one_call_may_mix_topics(world: World) -> None:
    results, dead_letters = await world.topic(partitions=2), await world.topic()
    sink = await world.sink(results)

    assert (
        await sink.publish(
            [
                Message(dead_letters, b"k", b"bad", []),
                Message(results, b"k", b"good", []),
                Message(dead_letters, b"k", b"worse", []),
            ]
        )
        == []
    )

    assert [r.value for r in await (await world.join(results)).read(1)] == [b"good"]
    assert [r.value for r in await (await world.join(dead_letters)).read(2)] == [b"bad", b"worse"]


async def test_publishing_nothing_is_fine(world: World) -> None:
    sink = await world.sink(await world.topic())

    assert await sink.publish([]) == []


async def test_a_stopped_sink_says_so(world: World) -> None:
    topic = await world.topic()
    sink = await world.sink(topic)
    await sink.stop()
    await sink.stop()

    with pytest.raises(SourceError):
        await sink.publish([Message(topic, b"k", b"v", [])])
