"""What only a real broker can do to the adapters."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Collection

import pytest
from aiokafka import AIOKafkaProducer, errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from consumer.engine.offsets.completion_map import CompletionMap, encode
from consumer.kafka.admin import group_lags as group_lags_module
from consumer.kafka.admin.admin import TopicAdmin, TopicInfo, TopicReport
from consumer.kafka.admin.group_lags import GroupLags
from consumer.kafka.admin.open_producers import open_producers
from consumer.kafka.client.connection import client_options
from consumer.kafka.control import KafkaControlSource
from consumer.kafka.sink.sink import KafkaSink
from consumer.kafka.source.source import KafkaSource
from consumer.ports import Lag, Message, OffsetAndMetadata, SourceError
from consumer.ports import TopicPartition as Partition
from schemas.settings.file import KafkaSettings
from tests.brokers import TestBroker
from tests.contract.worlds import (
    PATIENCE_S,
    KafkaWorld,
    Member,
    aiokafka_consumer,
    make_route,
)
from tests.publishing import PublishingSink, positions

pytestmark = pytest.mark.kafka


@pytest.fixture
async def world(kafka_broker: TestBroker) -> AsyncIterator[KafkaWorld]:
    made = KafkaWorld(kafka_broker)
    yield made
    await made.close()


@pytest.fixture
async def admin_client(world: KafkaWorld) -> AsyncIterator[AIOKafkaAdminClient]:
    async with world.admin() as client:
        yield client


async def poll_until_it_fails(member: Member) -> None:
    async with asyncio.timeout(30):
        while True:
            await member.source.poll(sorted(member.assignment), 10, 0.2)


async def until_refused(world: KafkaWorld, topic: str, value: bytes) -> None:
    """Wait until the broker applies a topic's new limit, which the controller has accepted."""
    async with (
        asyncio.timeout(PATIENCE_S),
        AIOKafkaProducer(**client_options(world.settings)) as producer,
    ):
        while True:
            try:
                await producer.send_and_wait(topic, value, partition=0)
            except errors.MessageSizeTooLargeError:
                return


async def test_a_message_that_the_broker_refuses_is_found_among_its_neighbours(
    world: KafkaWorld,
) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker has one limit for all topics")
    topic = await world.topic()
    sink = await world.sink(topic)
    # The sink read the limit at its start; now the topic takes less.
    await world.set_topic(topic, {"max.message.bytes": "2000"})
    await until_refused(world, topic, b"x" * 5000)
    values = [b"%d" % n for n in range(40)]
    values[13] = b"x" * 5000

    messages = [Message(topic, b"k", value, []) for value in values]

    assert positions(await sink.publish(messages), messages) == [13]
    assert await sink.publish([Message(topic, b"k", b"after", [])]) == []
    member = await world.join(topic)
    read: list[bytes | None] = []
    while len(read) < 40:
        # Without the messages that came before the broker knew the limit.
        read += [each.value for each in await member.read(1) if each.value != values[13]]
    assert read == [*values[:13], *values[14:], b"after"]


async def test_a_topics_own_limit_is_asked_for(world: KafkaWorld) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker has one limit for all topics")
    topic = await world.topic()
    await world.set_topic(topic, {"max.message.bytes": "3000000"})
    sink = await world.sink(topic)
    value = b"x" * 2_900_000

    assert await sink.publish([Message(topic, b"k", value, [])]) == []
    (rejection,) = await sink.publish([Message(topic, b"k", value + value, [])])

    assert rejection.message.value == value + value
    assert (await (await world.join(topic)).read(1))[0].value == value


async def test_a_topic_that_is_deleted_ends_the_source(
    world: KafkaWorld, admin_client: AIOKafkaAdminClient
) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker answers fetches of a deleted topic as if it were empty")
    topic = await world.topic()
    member = await world.join(topic)
    await admin_client.delete_topics([topic])

    with pytest.raises(SourceError, match="the topic is gone"):
        await poll_until_it_fails(member)


async def test_records_of_added_partitions_are_read_though_the_group_begins_at_the_end(
    world: KafkaWorld, admin_client: AIOKafkaAdminClient
) -> None:
    topic = await world.topic(partitions=4)
    await world.write(topic, [b"old"], 1)
    member = await world.join(topic, start_from="latest")

    await admin_client.create_partitions({topic: NewPartitions(8)})
    async with AIOKafkaProducer(**client_options(world.settings)) as producer:
        for number in range(100):
            await producer.send_and_wait(topic, b"%d" % number, partition=4 + number % 4)
    # It is noticed within a minute; the member need not wait for that here.
    await aiokafka_consumer(member)._client.force_metadata_update()
    await member.until(lambda it: len(it.assignment) == 8)

    records = await member.read(100)
    assert {record.value for record in records} == {b"%d" % number for number in range(100)}


async def test_a_topic_that_is_created_again_is_noticed_though_it_holds_as_much(
    world: KafkaWorld, admin_client: AIOKafkaAdminClient
) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker knows no topic ids")
    topic = await world.topic()
    await world.write(topic, [b"old"] * 10)
    member = await world.join(topic)
    # With records fetched that no test takes, it asks the broker for nothing.
    assert len(await member.read(5, max_records=5)) == 5

    await admin_client.delete_topics([topic])
    await create_again(world, topic)
    await world.write(topic, [b"new"] * 20)

    member.assignment = frozenset()
    with pytest.raises(SourceError, match="deleted and created again"):
        await poll_until_it_fails(member)


async def create_again(world: KafkaWorld, topic: str) -> None:
    """Create a topic whose deletion may not have ended yet."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await world.create_topic(topic, 1)
                if await world.partition_count(topic) == 1:
                    return
            except (SourceError, AssertionError):
                await asyncio.sleep(0.1)


async def test_a_commit_of_another_log_counts_as_the_start_of_this_one(world: KafkaWorld) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker knows no topic ids")
    topic = await world.topic(partitions=2)
    this, other = Partition(topic, 0), Partition(topic, 1)
    await world.write(topic, [b"x"] * 20, 0)
    await world.write(topic, [b"x"] * 20, 1)
    first = await world.join(topic)
    log_id = first.source.log_ids()[this]
    points = {
        this: OffsetAndMetadata(5, encode(5, CompletionMap(7, (6,), (), log_id))),
        other: OffsetAndMetadata(5, encode(5, CompletionMap(7, (6,), (), b"old!"))),
    }
    await first.source.commit(points)
    await first.source.stop()

    second = await world.join(topic)
    found = await second.source.committed([this, other])

    assert found == {this: points[this], other: OffsetAndMetadata(0, "")}


async def test_a_log_that_was_cut_short_is_read_on_at_its_end(world: KafkaWorld) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker knows no topic ids")
    topic = await world.topic()
    partition = Partition(topic, 0)
    await world.write(topic, [b"x"] * 20)
    first = await world.join(topic)
    log_id = first.source.log_ids()[partition]
    await first.source.commit(
        {partition: OffsetAndMetadata(25, encode(25, CompletionMap(25, log_id=log_id)))}
    )
    await first.source.stop()

    second = await world.join(topic)

    assert await second.source.committed([partition]) == {partition: OffsetAndMetadata(20, "")}


async def test_what_a_listener_raises_ends_the_source(world: KafkaWorld) -> None:
    topic = await world.topic()
    source = KafkaSource(world.settings, make_route(topic, topic))
    member = Member(source)

    async def fail(partitions: Collection[Partition]) -> None:
        raise RuntimeError("no ledger for you")

    member.assigned = fail  # type: ignore[method-assign]
    await source.start(member)
    try:
        with pytest.raises(SourceError, match="no ledger for you"):
            await poll_until_it_fails(member)
    finally:
        await source.stop()


async def test_stopping_while_the_listener_hangs_does_not_hang(world: KafkaWorld) -> None:
    topic = await world.topic()
    source = KafkaSource(world.settings, make_route(topic, topic))
    member = Member(source)

    async def hang(partitions: Collection[Partition]) -> None:
        await asyncio.Event().wait()

    member.assigned = hang  # type: ignore[method-assign]
    await source.start(member)
    await asyncio.wait_for(source.stop(), 5)


async def test_stopping_while_another_member_holds_up_the_rebalance_does_not_hang(
    world: KafkaWorld,
) -> None:
    topic = await world.topic(partitions=2)
    first = await world.join(topic)
    first.on_revoking = lambda: asyncio.Event().wait()
    source = KafkaSource(world.settings, make_route(topic, f"{topic}-g"))
    starting = asyncio.create_task(source.start(Member(source)))
    await first.until(lambda it: it.events[-1] == "revoking")

    starting.cancel()
    await asyncio.wait([starting], timeout=15)

    assert starting.cancelled()


async def test_nobody_there_is_said_at_once() -> None:
    settings = KafkaSettings(bootstrap="127.0.0.1:1")
    source = KafkaSource(settings, make_route("t", "g"))

    with pytest.raises(SourceError, match=r"127\.0\.0\.1:1"):
        await source.start(Member(source))
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:1"):
        await PublishingSink(KafkaSink(settings, ["t"])).start()


async def test_a_control_topic_may_be_given_partitions_while_it_is_read(
    world: KafkaWorld, admin_client: AIOKafkaAdminClient
) -> None:
    topic = await world.topic()
    await world.write(topic, [b"first"])
    control = KafkaControlSource(world.settings, topic)
    await control.start()

    async def read(count: int) -> list[bytes | None]:
        found: list[bytes | None] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < count:
                found += [record.value for record in await control.poll(0.2)]
        return found

    try:
        assert await read(1) == [b"first"]
        await admin_client.create_partitions({topic: NewPartitions(2)})
        async with AIOKafkaProducer(**client_options(world.settings)) as producer:
            await producer.send_and_wait(topic, b"added", partition=1)
            await producer.send_and_wait(topic, b"second", partition=0)
        # It is noticed within a minute; the test need not wait for that.
        assert control._consumer is not None
        await control._consumer._client.force_metadata_update()

        assert sorted(str(value) for value in await read(2)) == ["b'added'", "b'second'"]
    finally:
        await control.stop()


async def test_missing_topics_are_created_and_others_left_alone(world: KafkaWorld) -> None:
    old, new = await world.topic(partitions=2), f"t-{uuid.uuid4().hex[:8]}"
    wanted = TopicInfo(3, 1)
    async with TopicAdmin(world.settings) as admin:
        reports = await admin.ensure_topics({old: wanted, new: wanted})
        described = await admin.describe_topics([new, "no-such-topic"])

    assert reports == [
        TopicReport(old, is_created=False, wanted=wanted, found=TopicInfo(2, 1)),
        TopicReport(new, is_created=True, wanted=wanted, found=wanted),
    ]
    assert described == {new: wanted, "no-such-topic": None}


async def test_a_topic_that_cannot_be_created_is_named(world: KafkaWorld) -> None:
    if not world.is_faithful:
        pytest.skip("the embedded broker takes any replication factor")
    async with TopicAdmin(world.settings) as admin:
        with pytest.raises(SourceError, match=r"too-safe.*replication_factor"):
            await admin.ensure_topics({"too-safe": TopicInfo(1, 3)})


async def test_lag_is_told_from_outside_the_group(world: KafkaWorld) -> None:
    topic = await world.topic(partitions=2)
    await world.write(topic, [b"x"] * 10, partition=0)
    member = await world.join(topic)
    await member.source.commit({Partition(topic, 0): OffsetAndMetadata(4, "map")})
    async with GroupLags(world.settings) as group_lags:
        lag = await group_lags.read(f"{topic}-g", topic)
        nothing = await group_lags.read("g", "no-such-topic")

    assert lag == {
        Partition(topic, 0): Lag(0, 10, OffsetAndMetadata(4, "map"), 10),
        Partition(topic, 1): Lag(0, 0, None, 0),
    }
    assert nothing == {}


async def test_records_that_no_consumer_can_read_yet_are_no_lag(world: KafkaWorld) -> None:
    topic = await world.topic()
    await world.write(topic, [b"x"] * 4)
    async with (
        GroupLags(world.settings) as group_lags,
        AIOKafkaProducer(
            **client_options(world.settings), transactional_id=f"open-{uuid.uuid4().hex}"
        ) as producer,
    ):
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"undecided", partition=0)
        await world.write(topic, [b"x"] * 3)
        behind = (await group_lags.read("g", topic))[Partition(topic, 0)]
        blockers = await open_producers(world.settings, [Partition(topic, 0)], PATIENCE_S)
        await producer.commit_transaction()
        # The coordinator answers before it writes the marker. So: its record, its marker, and the
        # three that came meanwhile.
        async with asyncio.timeout(PATIENCE_S):
            while (await group_lags.read("g", topic))[Partition(topic, 0)].log_end != 9:
                await asyncio.sleep(0.05)

    assert behind.log_end == 4
    assert behind.blocked_records == 4
    assert blockers[Partition(topic, 0)].since_offset == 4


async def test_an_answer_without_offsets_is_not_taken_for_no_commit(
    world: KafkaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_lags_module, "read_points", lambda _response: ({0}, {}))
    topic = await world.topic(partitions=2)
    async with GroupLags(world.settings) as group_lags:
        with pytest.raises(SourceError, match=r"does not answer for partitions \[0, 1\]"):
            await group_lags.read("g", topic, timeout_s=1.0)


async def test_asking_for_the_lag_of_a_topic_does_not_create_it(world: KafkaWorld) -> None:
    topic = f"t-{uuid.uuid4().hex[:8]}"
    async with GroupLags(world.settings) as group_lags, TopicAdmin(world.settings) as admin:
        for _ in range(2):
            assert await group_lags.read("g", topic) == {}
            assert await admin.describe_topics([topic]) == {topic: None}
        await world.create_topic(topic, 3)
        assert await world.partition_count(topic) == 3
        assert len(await group_lags.read("g", topic)) == 3
