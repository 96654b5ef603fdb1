"""What every RecordSource promises about records, positions and commits."""

import asyncio

import pytest

from consumer.ports import CommitRefusedError, Message, OffsetAndMetadata, SourceError
from consumer.ports import TopicPartition as Partition
from tests.contract.worlds import World


async def test_records_come_once_and_in_the_order_of_their_partition(world: World) -> None:
    topic = await world.topic(partitions=2)
    await world.write(topic, [b"%d" % n for n in range(500)], partition=0)
    await world.write(topic, [b"%d" % n for n in range(300)], partition=1)
    member = await world.join(topic)

    records = await member.read(800, max_records=70)

    for number, count in ((0, 500), (1, 300)):
        mine = [record for record in records if record.partition == Partition(topic, number)]
        assert [record.offset for record in mine] == list(range(count))
        assert [record.value for record in mine] == [b"%d" % n for n in range(count)]
    assert await member.source.poll(sorted(member.assignment), 10, 0.1) == []


async def test_a_poll_returns_no_more_than_it_was_asked_for(world: World) -> None:
    topic = await world.topic()
    await world.write(topic, [b"x"] * 20)
    member = await world.join(topic)
    await member.read(1, max_records=1)

    assert len(await member.source.poll(sorted(member.assignment), 7, 1.0)) == 7
    assert member.source.position(Partition(topic, 0)) == 8


async def test_a_poll_reads_only_the_partitions_it_names(world: World) -> None:
    topic = await world.topic(partitions=2)
    await world.write(topic, [b"a"] * 5, partition=0)
    await world.write(topic, [b"b"] * 5, partition=1)
    member = await world.join(topic)

    only_second: list[bytes | None] = []
    while len(only_second) < 5:
        records = await member.source.poll([Partition(topic, 1)], 100, 1.0)
        only_second += [record.value for record in records]

    assert only_second == [b"b"] * 5
    assert member.source.position(Partition(topic, 0)) in (0, None)
    assert [record.value for record in await member.read(5)] == [b"a"] * 5


async def test_an_empty_poll_waits_and_then_reading_goes_on(world: World) -> None:
    topic = await world.topic()
    await world.write(topic, [b"a"])
    member = await world.join(topic)
    started_at = asyncio.get_running_loop().time()

    assert await member.source.poll((), 10, 0.3) == []

    assert asyncio.get_running_loop().time() - started_at > 0.2
    assert [record.value for record in await member.read(1)] == [b"a"]


async def test_a_poll_that_waits_returns_soon_after_a_record_is_published(world: World) -> None:
    topic = await world.topic()
    sink = await world.sink(topic)
    member = await world.join(topic)
    waiting = asyncio.create_task(member.source.poll(sorted(member.assignment), 10, 60.0))
    await asyncio.sleep(0.2)
    published_at = asyncio.get_running_loop().time()

    await sink.publish([Message(topic, b"k", b"late", [])])

    assert [record.value for record in await waiting] == [b"late"]
    assert asyncio.get_running_loop().time() - published_at < 30


async def test_a_cancelled_poll_loses_nothing(world: World) -> None:
    topic = await world.topic()
    sink = await world.sink(topic)
    member = await world.join(topic)
    waiting = asyncio.create_task(member.source.poll(sorted(member.assignment), 10, 0.8))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait([waiting])
    await sink.publish([Message(topic, b"k", b"%d" % n, []) for n in range(3)])
    await asyncio.sleep(0.2)

    assert [record.value for record in await member.read(3)] == [b"0", b"1", b"2"]


async def test_seek_goes_back_and_forth(world: World) -> None:
    topic = await world.topic()
    await world.write(topic, [b"%d" % n for n in range(10)])
    member = await world.join(topic)
    await member.read(10)

    member.source.seek(Partition(topic, 0), 8)
    assert [record.offset for record in await member.read(2)] == [8, 9]
    member.source.seek(Partition(topic, 0), 3)
    assert member.source.position(Partition(topic, 0)) == 3
    assert (await member.read(1))[0].offset == 3


async def test_keys_values_headers_and_tombstones_come_as_they_were_published(world: World) -> None:
    topic = await world.topic()
    sink = await world.sink(topic)
    every_byte = bytes(range(256))
    headers = [("a", b"1"), ("a", b""), ("a", None), ("traceparent", every_byte)]
    messages = [
        Message(topic, every_byte, b"", headers),
        Message(topic, b"", every_byte, []),
        Message(topic, b"deleted", None, [("x", b"y")]),
        Message(topic, None, b"keyless", []),
    ]

    assert await sink.publish(messages) == []
    records = await (await world.join(topic)).read(4)

    assert [(r.key, r.value, r.headers) for r in records] == [
        (message.key, message.value, message.headers) for message in messages
    ]


async def test_a_commit_keeps_its_metadata(world: World) -> None:
    topic = await world.topic(partitions=2)
    await world.write(topic, [b"x"] * 10)
    member = await world.join(topic)
    point = OffsetAndMetadata(7, "0123456789" * 400)
    partitions = [Partition(topic, 0), Partition(topic, 1)]

    await member.source.commit({partitions[0]: point})

    assert await member.source.committed(partitions) == {partitions[0]: point, partitions[1]: None}
    assert await member.source.log_ends(partitions) == {partitions[0]: 10, partitions[1]: 0}


async def test_metadata_over_the_limit_is_refused(world: World) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker takes commit metadata of any length")
    topic = await world.topic()
    member = await world.join(topic)

    with pytest.raises(SourceError):
        await member.source.commit({Partition(topic, 0): OffsetAndMetadata(0, "x" * 5000)})


async def test_commits_at_the_same_time_leave_the_last_one(world: World) -> None:
    topic = await world.topic()
    await world.write(topic, [b"x"] * 20)
    member = await world.join(topic)
    partition = Partition(topic, 0)

    await asyncio.gather(
        *(member.source.commit({partition: OffsetAndMetadata(n, str(n))}) for n in range(1, 20))
    )

    assert await member.source.committed([partition]) == {partition: OffsetAndMetadata(19, "19")}


async def test_a_commit_for_a_partition_of_somebody_else_is_refused(world: World) -> None:
    topic = await world.topic()
    member = await world.join(topic)

    with pytest.raises(CommitRefusedError):
        await member.source.commit({Partition(topic, 7): OffsetAndMetadata(1, "")})


async def test_a_group_goes_on_where_it_committed(world: World) -> None:
    topic = await world.topic()
    await world.write(topic, [b"%d" % n for n in range(10)])
    first = await world.join(topic)
    await first.read(10)
    await first.source.commit({Partition(topic, 0): OffsetAndMetadata(6, "map")})
    await first.source.stop()

    second = await world.join(topic)

    assert [record.offset for record in await second.read(4)] == [6, 7, 8, 9]


async def test_latest_skips_what_was_there_before_the_group(world: World) -> None:
    topic = await world.topic()
    await world.write(topic, [b"old"] * 5)
    member = await world.join(topic, start_from="latest")
    assert member.source.position(Partition(topic, 0)) == 5

    await world.write(topic, [b"new"])

    assert [record.value for record in await member.read(1)] == [b"new"]


async def test_latest_means_nothing_to_a_group_that_has_committed(world: World) -> None:
    topic = await world.topic()
    await world.write(topic, [b"%d" % n for n in range(5)])
    first = await world.join(topic, start_from="latest")
    await first.source.commit({Partition(topic, 0): OffsetAndMetadata(2, "")})
    await first.source.stop()

    second = await world.join(topic, start_from="latest")

    assert (await second.read(3))[0].offset == 2


async def test_a_group_of_latest_begins_before_anything_is_polled(world: World) -> None:
    topic = await world.topic(partitions=2)
    await world.write(topic, [b"old"], 0)
    await world.write(topic, [b"old"], 1)
    first = await world.join(topic, start_from="latest")

    await world.write(topic, [b"new"], 0)
    await world.write(topic, [b"new"], 1)
    joining = asyncio.create_task(world.join(topic, start_from="latest"))
    await first.until(lambda _it: joining.done())
    second = await joining

    assert [record.value for record in await first.read(1)] == [b"new"]
    assert [record.value for record in await second.read(1)] == [b"new"]


async def test_a_stopped_source_says_so(world: World) -> None:
    topic = await world.topic()
    member = await world.join(topic)
    await member.source.stop()
    await member.source.stop()

    with pytest.raises(SourceError):
        await member.source.poll([], 1, 0.1)


async def test_offsets_without_a_record_are_passed_over(world: World) -> None:
    topic = await world.topic()
    partition = Partition(topic, 0)
    await world.write(topic, [b"a", b"b"])
    await world.leave_gap(partition)
    await world.write(topic, [b"c"])
    await world.leave_gap(partition)
    member = await world.join(topic)

    records = await member.read(3)

    assert [record.value for record in records] == [b"a", b"b", b"c"]
    assert records[2].offset > 2
    end = (await member.source.log_ends([partition]))[partition]
    for _ in range(50):
        if member.source.position(partition) == end:
            break
        assert await member.source.poll([partition], 10, 0.1) == []
    assert member.source.position(partition) == end > records[2].offset + 1


async def test_where_retention_deleted_what_comes_next_reading_goes_on_behind(world: World) -> None:
    topic = await world.topic()
    partition = Partition(topic, 0)
    await world.write(topic, [b"%d" % n for n in range(10)])
    first = await world.join(topic, start_from="latest")
    await first.source.commit({partition: OffsetAndMetadata(2, "")})
    await first.source.stop()
    await world.move_log_start(partition, 6)

    second = await world.join(topic, start_from="latest")

    assert [record.offset for record in await second.read(4)] == [6, 7, 8, 9]
    assert second.source.take_expired() == {partition: 6}
    assert second.source.take_expired() == {}


async def test_retention_that_overtakes_a_reader_is_told(world: World) -> None:
    topic = await world.topic()
    partition = Partition(topic, 0)
    await world.write(topic, [b"%d" % n for n in range(10)])
    member = await world.join(topic)
    assert len(await member.read(10)) == 10
    await world.write(topic, [b"%d" % n for n in range(10, 20)])
    await world.move_log_start(partition, 15)
    member.source.seek(partition, 10)

    assert (await member.read(1))[0].offset == 15
    assert member.source.take_expired() == {partition: 15}


async def test_gaps_inside_the_log_are_no_loss(world: World) -> None:
    topic = await world.topic()
    await world.write(topic, [b"a"])
    await world.leave_gap(Partition(topic, 0))
    await world.write(topic, [b"b"])
    member = await world.join(topic)

    assert len(await member.read(2)) == 2
    assert member.source.take_expired() == {}


async def test_a_commit_beyond_the_logs_end_counts_as_the_start(world: World) -> None:
    topic = await world.topic()
    partition = Partition(topic, 0)
    await world.write(topic, [b"x"] * 3)
    await world.move_log_start(partition, 1)
    first = await world.join(topic)
    await first.source.commit({partition: OffsetAndMetadata(500, "of a log that was longer")})
    await first.source.stop()

    second = await world.join(topic)

    assert await second.source.committed([partition]) == {partition: OffsetAndMetadata(1, "")}
    assert [record.offset for record in await second.read(2)] == [1, 2]
