"""Where aiokafka alone would hang or fail for ever: rebalances, leaders and odd records."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Never

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.client.connection import client_options
from consumer.kafka.source import raw_records, source
from consumer.kafka.source.source import KafkaSource
from consumer.kafka.source.unpacking import Unpacking
from consumer.ports import OffsetAndMetadata, Record, SourceError
from consumer.ports import TopicPartition as Partition
from tests.brokers import TestBroker
from tests.contract.misnamed import MISNAMED, MISNAMED_AS_READ, rename
from tests.contract.worlds import KafkaWorld, Member, aiokafka_consumer, make_route

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_broker: TestBroker) -> AsyncIterator[KafkaWorld]:
    made = KafkaWorld(kafka_broker)
    yield made
    await made.close()


def coordinator_of(member: Member) -> GroupCoordinator:
    return aiokafka_consumer(member)._coordinator


async def poll_until_it_fails(member: Member) -> None:
    async with asyncio.timeout(15):
        while True:
            await member.source.poll(sorted(member.assignment), 10, 0.2)


@pytest.mark.parametrize(
    ("step", "failure", "message"),
    [
        ("_do_rejoin_group", errors.InconsistentGroupProtocolError(), "a group of its own"),
        ("_do_rejoin_group", RuntimeError("the task is over"), "the task is over"),
        ("_perform_assignment", RuntimeError("no assignment"), "no assignment"),
    ],
)
async def test_a_rebalance_that_fails_ends_the_source(
    world: KafkaWorld, monkeypatch: pytest.MonkeyPatch, step: str, failure: Exception, message: str
) -> None:
    member = await world.join(await world.topic())

    async def fail(_argument: object) -> None:
        raise failure

    monkeypatch.setattr(coordinator_of(member), step, fail)
    coordinator_of(member).request_rejoin()

    with pytest.raises(SourceError, match=message):
        await poll_until_it_fails(member)
    assert member.events == ["assigned", "revoking"]


async def test_a_rebalance_longer_than_the_longest_pause_between_polls_comes_to_its_end(
    world: KafkaWorld,
) -> None:
    member = await world.join(await world.topic())
    coordinator_of(member)._max_poll_interval = 0.5
    member.on_revoking = lambda: asyncio.sleep(1.5)
    coordinator_of(member).request_rejoin()

    await member.until(lambda it: it.events == ["assigned", "revoking", "assigned"])


class SlowMember(Member):
    """Takes over when the test lets it."""

    def __init__(self, source: KafkaSource) -> None:
        super().__init__(source)
        self.may_take_over = asyncio.Event()
        self.begun = 0

    async def assigned(self, partitions: Collection[Partition]) -> None:
        self.begun += 1
        await self.may_take_over.wait()
        await super().assigned(partitions)


async def test_a_take_over_longer_than_a_session_does_not_cost_the_membership(
    world: KafkaWorld,
) -> None:
    topic = await world.topic()
    session_s = 6.0
    source = KafkaSource(world.settings, make_route(topic, topic))
    member = SlowMember(source)
    await source.start(member)
    try:
        await member.until(lambda it: bool(member.begun))
        coordinator = coordinator_of(member)
        generation, member_id = coordinator.generation, coordinator.member_id

        # In real time, because the broker's clock counts.
        async with asyncio.timeout(session_s + 10):
            gives_up_at_s = asyncio.get_running_loop().time() + session_s + 2
            while asyncio.get_running_loop().time() < gives_up_at_s:
                await source.poll((), 1, 0.2)
        member.may_take_over.set()
        await member.until(lambda it: bool(it.events))
        await source.commit({Partition(topic, 0): OffsetAndMetadata(0, "still a member")})

        assert (coordinator.generation, coordinator.member_id) == (generation, member_id)
    finally:
        await source.stop()


async def test_a_take_over_that_hangs_holds_up_no_rebalance(world: KafkaWorld) -> None:
    topic = await world.topic(partitions=2)
    source = KafkaSource(world.settings, make_route(topic, f"{topic}-g", rebalance_timeout_s=10))
    slow = SlowMember(source)
    await source.start(slow)
    try:
        await slow.until(lambda it: bool(slow.begun))
        joining = asyncio.create_task(world.join(topic, rebalance_timeout_s=10))
        await slow.until(lambda it: joining.done())
        other = await joining

        assert len(other.assignment) == 1
        slow.may_take_over.set()
        await slow.until(lambda it: bool(it.events))
        assert len(slow.assignment) == 1
        assert slow.begun == 2
        # A partition that was never taken over is not taken away either.
        assert slow.events == ["assigned"]
    finally:
        await source.stop()


async def test_a_member_finds_brokers_that_have_all_moved(world: KafkaWorld) -> None:
    topic = await world.topic()
    member = await world.join(topic)
    client = aiokafka_consumer(member)._client
    (broker,) = client.cluster.brokers()
    nowhere = broker._replace(port=1)
    client.cluster._brokers = {broker.nodeId: nowhere}
    for connection in list(client._conns.values()):
        connection.close()

    await world.write(topic, [b"after"])

    assert [record.value for record in await member.read(1)] == [b"after"]


async def test_a_partition_without_a_leader_does_not_hold_up_the_others(
    world: KafkaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await world.topic(partitions=2)
    led, leaderless = Partition(topic, 0), Partition(topic, 1)
    member = await world.join(topic)
    await member.source.commit(
        {led: OffsetAndMetadata(9, "m"), leaderless: OffsetAndMetadata(9, "m")}
    )
    ask = aiokafka_consumer(member).end_offsets

    async def end_offsets(partitions: Collection[KafkaPartition]) -> object:
        if leaderless in partitions:
            await asyncio.Event().wait()
        return await ask(partitions)

    monkeypatch.setattr(aiokafka_consumer(member), "end_offsets", end_offsets)
    # It waits a fifth of the session's timeout, 6 s.
    points = await asyncio.wait_for(member.source.committed([led, leaderless]), 5)

    assert points == {led: OffsetAndMetadata(0, ""), leaderless: OffsetAndMetadata(9, "m")}


async def test_latest_without_a_leader_is_said_and_not_passed_over(
    world: KafkaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await world.topic()

    async def end_offsets(
        _consumer: AIOKafkaConsumer, _partitions: Collection[KafkaPartition]
    ) -> Never:
        raise errors.LeaderNotAvailableError

    monkeypatch.setattr(AIOKafkaConsumer, "end_offsets", end_offsets)
    source = KafkaSource(world.settings, make_route(topic, topic, start_from="latest"))
    member = Member(source)
    await source.start(member)
    try:
        with pytest.raises(SourceError, match=f"{topic}/0.*leader"):
            await poll_until_it_fails(member)
    finally:
        await source.stop()


async def write_misnamed(
    world: KafkaWorld, partition: Partition, misnamed: set[int], count: int
) -> None:
    """Publish one batch of ``count`` records; those at ``misnamed`` have an odd header name."""
    async with AIOKafkaProducer(**client_options(world.settings)) as producer:
        builder = producer.create_batch()
        for number in range(count):
            headers = MISNAMED if number in misnamed else []
            builder.append(timestamp=None, key=None, value=b"%d" % number, headers=headers)
        builder._buffer = rename(builder._build())
        await (await producer.send_batch(builder, partition.topic, partition=partition.partition))


def values_by_partition(records: list[Record]) -> dict[Partition, list[bytes | None]]:
    found: dict[Partition, list[bytes | None]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(record.value)
    return found


async def test_a_header_name_that_is_not_utf8_costs_no_record(
    world: KafkaWorld, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await world.topic(partitions=3)
    odd, odd_too, fine = (Partition(topic, number) for number in range(3))
    misnamed = {0, 40, 41, 99}
    await write_misnamed(world, odd, misnamed, 100)
    await write_misnamed(world, odd_too, {5}, 30)
    await write_misnamed(world, fine, set(), 200)
    member = await world.join(topic)

    records = await member.read(330, max_records=64)
    await world.write(topic, [b"later"], partition=0)
    later = await member.read(1)

    assert values_by_partition(records) == {
        odd: [b"%d" % n for n in range(100)],
        odd_too: [b"%d" % n for n in range(30)],
        fine: [b"%d" % n for n in range(200)],
    }
    assert {
        r.offset: r.headers for r in records if r.partition == odd and r.headers
    } == dict.fromkeys(misnamed, MISNAMED_AS_READ)
    assert later[0][:2] == (odd, 100)
    assert "not UTF-8" in caplog.text
    assert aiokafka_consumer(member)._subscription._fetch_count == 0


async def test_a_misnamed_record_that_comes_while_a_poll_waits_is_found(world: KafkaWorld) -> None:
    topic = await world.topic(partitions=2)
    member = await world.join(topic)
    reading = asyncio.create_task(member.read(4))
    await asyncio.sleep(0.3)
    await write_misnamed(world, Partition(topic, 1), {1}, 4)

    assert [record.value for record in await reading] == [b"0", b"1", b"2", b"3"]


async def test_a_small_batch_that_unpacks_to_too_much_is_told_about_and_passed(
    world: KafkaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await world.topic(partitions=2)
    huge, fine = Partition(topic, 0), Partition(topic, 1)
    async with AIOKafkaProducer(
        **client_options(world.settings), compression_type="zstd", max_request_size=9_000_000
    ) as producer:
        for value in (b"before", bytes(8_000_000), b"after"):
            await producer.send_and_wait(topic, value, partition=0)
    await world.write(topic, [b"fine"] * 3, partition=1)
    monkeypatch.setattr(source, "Unpacking", lambda _: Unpacking(1_000_000))
    try:
        member = await world.join(topic)
        records = await member.read(6)
    finally:
        Unpacking(256 * 1024 * 1024).install()
        raw_records.install(Unpacking(256 * 1024 * 1024))

    assert values_by_partition(records) == {huge: [b"before", None, b"after"], fine: [b"fine"] * 3}
    problems = {record.offset: record.problem for record in records if record.problem}
    assert list(problems) == [1]
    assert "flow.max_batch_bytes" in problems[1]
    assert aiokafka_consumer(member)._subscription._fetch_count == 0
