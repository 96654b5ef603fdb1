"""What every RecordSource promises when the group changes."""

import asyncio
from collections.abc import Collection

import pytest

from consumer.ports import CommitRefusedError, Message, OffsetAndMetadata
from consumer.ports import TopicPartition as Partition
from tests.contract.worlds import Member, World


async def settled(*members: Member, partitions: int) -> None:
    """Wait until the members share all partitions."""

    def is_settled(_: Member) -> bool:
        owned = [partition for member in members for partition in member.assignment]
        return len(owned) == len(set(owned)) == partitions and all(
            member.assignment and member.events[-1] == "assigned" for member in members
        )

    await asyncio.gather(*(member.until(is_settled) for member in members))


async def test_a_second_member_takes_its_share_and_no_more(world: World) -> None:
    topic = await world.topic(partitions=4)
    first = await world.join(topic)
    before = first.assignment
    assert len(before) == 4
    assert first.events == ["assigned"]

    second, _ = await asyncio.gather(
        world.join(topic), first.until(lambda it: len(it.assignment) == 2)
    )
    await settled(first, second, partitions=4)

    assert first.events == ["assigned", "revoking", "assigned"]
    assert second.events == ["assigned"]
    assert first.assignment < before
    assert len(second.assignment) == 2


async def test_a_third_member_moves_only_what_balance_asks_for(world: World) -> None:
    topic = await world.topic(partitions=4)
    first = await world.join(topic)
    second, _ = await asyncio.gather(
        world.join(topic), first.until(lambda it: len(it.assignment) == 2)
    )
    await settled(first, second, partitions=4)
    before = (first.assignment, second.assignment)

    third, *_ = await asyncio.gather(
        world.join(topic),
        first.until(lambda it: len(it.events) >= 5),
        second.until(lambda it: len(it.events) >= 3),
    )
    await settled(first, second, third, partitions=4)

    assert first.assignment <= before[0]
    assert second.assignment <= before[1]
    assert len(third.assignment) == 1


async def test_when_a_member_leaves_the_other_gets_all_and_goes_on_from_its_commit(
    world: World,
) -> None:
    topic = await world.topic(partitions=2)
    await world.write(topic, [b"%d" % n for n in range(10)], partition=0)
    await world.write(topic, [b"%d" % n for n in range(10)], partition=1)
    first = await world.join(topic)
    second, _ = await asyncio.gather(
        world.join(topic), first.until(lambda it: len(it.assignment) == 1)
    )
    await settled(first, second, partitions=2)
    (left,) = second.assignment
    await second.read(10)
    await second.source.commit({left: OffsetAndMetadata(4, "left behind")})

    await second.source.stop()
    await first.until(lambda it: len(it.assignment) == 2)

    assert (await first.source.committed([left]))[left] == OffsetAndMetadata(4, "left behind")
    offsets = [r.offset for r in await first.read(16) if r.partition == left]
    assert offsets == [4, 5, 6, 7, 8, 9]
    assert second.events[-1] == "assigned", "a stop calls no listener"


async def test_a_commit_while_revoking_still_counts(world: World) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker refuses commits once another member has asked to join")
    topic = await world.topic(partitions=2)
    await world.write(topic, [b"x"] * 10, partition=0)
    first = await world.join(topic)
    partition = Partition(topic, 0)
    first.on_revoking = lambda: first.source.commit(
        {partition: OffsetAndMetadata(5, "just in time")}
    )

    second, _ = await asyncio.gather(
        world.join(topic), first.until(lambda it: len(it.assignment) == 1)
    )
    await settled(first, second, partitions=2)

    points = await second.source.committed([partition])
    assert points == {partition: OffsetAndMetadata(5, "just in time")}


async def test_a_kept_partition_is_read_on_without_a_repeat_after_seek(world: World) -> None:
    topic = await world.topic(partitions=2)
    sink = await world.sink(topic)
    first = await world.join(topic)
    offsets: dict[Partition, list[int]] = {}

    async def read_all() -> None:
        while True:
            for record in await first.source.poll(sorted(first.assignment), 5, 0.05):
                offsets.setdefault(record.partition, []).append(record.offset)

    async def reached(partition: Partition, offset: int) -> None:
        for _ in range(1000):
            if offsets[partition][-1] >= offset:
                return
            await asyncio.sleep(0.02)

    async def write_all() -> None:
        for number in range(150):
            await sink.publish([Message(topic, b"%d" % (number % 8), b"x", [])])
            await asyncio.sleep(0.01)

    take_over = first.assigned

    async def assigned(partitions: Collection[Partition]) -> None:
        await take_over(partitions)
        for partition in partitions:
            if partition in offsets:
                first.source.seek(partition, offsets[partition][-1] + 1)

    first.assigned = assigned  # type: ignore[method-assign]
    reading = asyncio.create_task(read_all())
    writing = asyncio.create_task(write_all())
    second = await world.join(topic)
    await writing
    (kept,) = first.assignment
    end = (await first.source.log_ends([kept]))[kept]
    await asyncio.wait_for(reached(kept, end - 1), 10)
    reading.cancel()

    assert second.assignment
    assert offsets[kept] == list(range(end))


async def test_a_member_that_overstays_the_rebalance_timeout_cannot_commit(world: World) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker waits for every member without end")
    topic = await world.topic(partitions=2)
    await world.write(topic, [b"x"] * 10, partition=0)
    first = await world.join(topic, rebalance_timeout_s=2.0)
    partition = Partition(topic, 0)
    others_have_it = asyncio.Event()
    refusals: list[CommitRefusedError] = []

    async def commit_too_late() -> None:
        await others_have_it.wait()
        with pytest.raises(CommitRefusedError) as caught:
            await first.source.commit({partition: OffsetAndMetadata(1, "stale")})
        refusals.append(caught.value)
        first.on_revoking = lambda: None

    first.on_revoking = commit_too_late
    second = await world.join(topic, rebalance_timeout_s=2.0)
    assert len(second.assignment) == 2
    await second.source.commit({partition: OffsetAndMetadata(9, "owner")})
    others_have_it.set()
    await first.until(lambda it: bool(refusals))

    await settled(first, second, partitions=2)
    assert await second.source.committed([partition]) == {partition: OffsetAndMetadata(9, "owner")}


async def test_a_commit_counts_only_after_the_listener_has_taken_over(world: World) -> None:
    topic = await world.topic()
    partition = Partition(topic, 0)
    source = world.make_source(topic, topic, "earliest", 30.0)
    member = Member(source)
    take_over = member.assigned
    outcomes: list[object] = []

    async def commit_what_is_stale(partitions: Collection[Partition]) -> None:
        outcomes.extend(
            await asyncio.gather(
                source.commit({partition: OffsetAndMetadata(1, "stale")}), return_exceptions=True
            )
        )
        await take_over(partitions)

    member.assigned = commit_what_is_stale  # type: ignore[method-assign]
    await source.start(member)
    try:
        await member.until(lambda it: bool(it.events))
        committed = await source.committed([partition])
    finally:
        await source.stop()

    assert isinstance(outcomes[0], CommitRefusedError)
    assert committed == {partition: None}


async def test_a_commit_for_a_partition_that_moved_is_refused(world: World) -> None:
    topic = await world.topic(partitions=2)
    first = await world.join(topic)
    second, _ = await asyncio.gather(
        world.join(topic), first.until(lambda it: len(it.assignment) == 1)
    )
    await settled(first, second, partitions=2)
    (moved,) = second.assignment

    with pytest.raises(CommitRefusedError):
        await first.source.commit({moved: OffsetAndMetadata(1, "")})

    assert await second.source.committed([moved]) == {moved: None}


async def test_a_member_that_polls_nothing_stays_in_the_group(world: World) -> None:
    topic = await world.topic(partitions=2)
    await world.write(topic, [b"x"], partition=0)
    member = await world.join(topic)

    for _ in range(15):
        assert await member.source.poll((), 10, 0.1) == []

    assert member.events == ["assigned"]
    await member.source.commit({Partition(topic, 0): OffsetAndMetadata(1, "")})


async def test_a_member_that_joins_again_has_its_partitions_back_and_goes_on(world: World) -> None:
    topic = await world.topic(partitions=2)
    await world.write(topic, [b"1", b"2"], partition=0)
    member = await world.join(topic)
    assert len(await member.read(2)) == 2
    owned = member.assignment
    await member.source.commit({Partition(topic, 0): OffsetAndMetadata(1, "")})

    member.source.rejoin()
    await member.until(lambda it: it.events == ["assigned", "revoking", "assigned"])

    assert member.assignment == owned
    (record,) = await member.read(1)
    assert record.value == b"2"
    await member.source.commit({Partition(topic, 0): OffsetAndMetadata(2, "")})
