"""What every TransactionalSink promises."""

import asyncio

import pytest

from consumer.kafka.sink.partitioning import partition_of_key
from consumer.ports import FencedError, Message, OffsetAndMetadata, SourceError
from consumer.ports import TopicPartition as Partition
from tests.contract.worlds import World


@pytest.fixture
async def topic(world: World) -> str:
    """A requests topic of two partitions, with its results and dead letters."""
    name = await world.topic(partitions=2)
    await world.results_topics(name)
    for partition in (0, 1):
        # A committed offset beyond the log's end counts as none.
        await world.write(name, [b"request"] * 20, partition)
    return name


def results(topic: str, *values: bytes) -> list[Message]:
    return [Message(f"{topic}-results", b"k-" + value, value, [("h", b"1")]) for value in values]


async def test_results_and_progress_appear_together(world: World, topic: str) -> None:
    first, second = Partition(topic, 0), Partition(topic, 1)
    sink = await world.transactional_sink(topic)
    await sink.take_over([first, second])
    letter = Message(f"{topic}-dead-letters", None, b"bad", [])

    assert (
        await sink.publish(first, [*results(topic, b"1", b"2"), letter], OffsetAndMetadata(2, "m"))
        == []
    )
    assert await sink.publish(first, results(topic, b"3"), OffsetAndMetadata(3, "")) == []

    member = await world.join(topic)
    points = await member.source.committed([first, second])
    assert points == {first: OffsetAndMetadata(3, ""), second: None}
    assert sorted(await world.published(topic)) == [b"1", b"2", b"3"]
    letters = await (await world.join(f"{topic}-dead-letters")).read(1)
    assert [record.value for record in letters] == [b"bad"]


async def test_transactions_of_several_partitions_run_at_the_same_time(
    world: World, topic: str
) -> None:
    sink = await world.transactional_sink(topic)
    partitions = [Partition(topic, number) for number in (0, 1)]
    await sink.take_over(partitions)

    async def publish(partition: Partition) -> None:
        for number in range(20):
            value = b"%d-%02d" % (partition.partition, number)
            point = OffsetAndMetadata(number + 1, "")
            assert await sink.publish(partition, results(topic, value), point) == []

    await asyncio.gather(*map(publish, partitions))

    assert sorted(await world.published(topic)) == [
        b"%d-%02d" % (partition, number) for partition in (0, 1) for number in range(20)
    ]
    member = await world.join(topic)
    assert await member.source.committed(partitions) == dict.fromkeys(
        partitions, OffsetAndMetadata(20, "")
    )


async def test_messages_go_where_keys_send_them_and_keep_their_order(
    world: World, topic: str
) -> None:
    sink = await world.transactional_sink(topic)
    await sink.take_over([Partition(topic, 0)])
    name = f"{topic}-results"
    for base in (0, 300):
        messages = [Message(name, b"%d" % (n % 7), b"%d" % n, []) for n in range(base, base + 300)]
        assert (
            await sink.publish(Partition(topic, 0), messages, OffsetAndMetadata(base + 300, ""))
            == []
        )

    by_key: dict[bytes, list[int]] = {}
    for record in await (await world.join(name)).read(600):
        assert record.partition.partition == partition_of_key(record.key or b"", 2)
        by_key.setdefault(record.key or b"", []).append(int(record.value or b""))
    assert all(values == sorted(values) for values in by_key.values())


async def test_progress_may_be_committed_without_messages(world: World, topic: str) -> None:
    sink = await world.transactional_sink(topic)
    partition = Partition(topic, 0)
    await sink.take_over([partition])

    assert await sink.publish(partition, [], OffsetAndMetadata(5, "skipped")) == []

    member = await world.join(topic)
    assert (await member.source.committed([partition]))[partition] == OffsetAndMetadata(
        5, "skipped"
    )


async def test_a_message_over_the_limit_keeps_all_from_being_published(
    world: World, topic: str
) -> None:
    sink = await world.transactional_sink(topic)
    partition = Partition(topic, 0)
    await sink.take_over([partition])
    large = Message(f"{topic}-results", b"k", b"x" * (2 * 1024 * 1024), [])
    good = results(topic, b"a", b"b")

    rejections = await sink.publish(partition, [good[0], large, good[1]], OffsetAndMetadata(3, ""))

    assert [rejection.message for rejection in rejections] == [large]
    assert f"{topic}-results" in rejections[0].reason
    member = await world.join(topic)
    assert await member.source.committed([partition]) == {partition: None}
    assert await sink.publish(partition, good, OffsetAndMetadata(3, "")) == []
    assert sorted(await world.published(topic)) == [b"a", b"b"]


async def test_whoever_takes_a_partition_over_fences_its_earlier_owner_only(
    world: World, topic: str
) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker lets a fenced producer go on")
    first, second = Partition(topic, 0), Partition(topic, 1)
    old = await world.transactional_sink(topic)
    await old.take_over([first, second])
    assert await old.publish(first, results(topic, b"old"), OffsetAndMetadata(1, "")) == []
    new = await world.transactional_sink(topic)
    await new.take_over([first])

    with pytest.raises(FencedError):
        await old.publish(first, results(topic, b"zombie"), OffsetAndMetadata(2, ""))
    with pytest.raises(FencedError):
        await old.publish(first, results(topic, b"zombie"), OffsetAndMetadata(2, ""))
    assert await old.publish(second, results(topic, b"still mine"), OffsetAndMetadata(1, "")) == []
    assert await new.publish(first, results(topic, b"new"), OffsetAndMetadata(2, "")) == []

    assert sorted(await world.published(topic)) == [b"new", b"old", b"still mine"]


async def test_a_fenced_owner_may_take_its_partition_back(world: World, topic: str) -> None:
    partition = Partition(topic, 0)
    one, other = await world.transactional_sink(topic), await world.transactional_sink(topic)
    for turn in range(3):
        for number, sink in enumerate((one, other)):
            await sink.take_over([partition])
            offset = 2 * turn + number + 1
            value = b"%d" % offset
            assert (
                await sink.publish(partition, results(topic, value), OffsetAndMetadata(offset, ""))
                == []
            )

    assert sorted(await world.published(topic)) == [b"%d" % n for n in range(1, 7)]


async def test_a_partition_taken_over_again_by_its_owner_goes_on(world: World, topic: str) -> None:
    first, second = Partition(topic, 0), Partition(topic, 1)
    sink = await world.transactional_sink(topic)
    for offset, partitions in enumerate(([first], [first, second], [first, second]), start=1):
        await sink.take_over(partitions)
        value = b"%d" % offset
        assert await sink.publish(first, results(topic, value), OffsetAndMetadata(offset, "")) == []

    assert sorted(await world.published(topic)) == [b"1", b"2", b"3"]


async def test_a_partition_that_was_let_go_is_refused(world: World, topic: str) -> None:
    first, second = Partition(topic, 0), Partition(topic, 1)
    sink = await world.transactional_sink(topic)
    await sink.take_over([first, second])
    await sink.take_over([second])

    with pytest.raises(FencedError):
        await sink.publish(first, results(topic, b"late"), OffsetAndMetadata(1, ""))
    assert await sink.publish(second, results(topic, b"fine"), OffsetAndMetadata(1, "")) == []


async def test_large_publications_take_several_batches(world: World, topic: str) -> None:
    sink = await world.transactional_sink(topic)
    partition = Partition(topic, 0)
    await sink.take_over([partition])
    name = f"{topic}-results"
    messages = [Message(name, b"k", b"%04d" % n + b"x" * 400_000, []) for n in range(12)]

    assert await sink.publish(partition, messages, OffsetAndMetadata(12, "")) == []
    assert await sink.publish(partition, messages[:1], OffsetAndMetadata(13, "")) == []

    records = await (await world.join(name)).read(13)
    assert [int((r.value or b"")[:4]) for r in records] == [*range(12), 0]


async def test_metadata_over_the_limit_ends_the_sink_and_publishes_nothing(
    world: World, topic: str
) -> None:
    sink = await world.transactional_sink(topic)
    partition = Partition(topic, 0)
    await sink.take_over([partition])
    if not world.is_faithful:
        pytest.skip("the embedded broker takes metadata of any length")

    with pytest.raises(SourceError, match="metadata"):
        await sink.publish(partition, results(topic, b"1"), OffsetAndMetadata(1, "x" * 5000))

    await sink.stop()
    assert await world.published(topic) == []


async def test_a_stopped_sink_says_so(world: World, topic: str) -> None:
    sink = await world.transactional_sink(topic)
    partition = Partition(topic, 0)
    await sink.take_over([partition])
    await sink.stop()
    await sink.stop()

    with pytest.raises(SourceError):
        await sink.publish(partition, results(topic, b"1"), OffsetAndMetadata(1, ""))
    with pytest.raises(SourceError):
        await sink.take_over([partition])
