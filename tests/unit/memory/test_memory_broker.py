"""The failures that the broker in memory can be told to have."""

import asyncio
from collections.abc import Collection

import pytest

from consumer.ports import CommitRefusedError, Message, OffsetAndMetadata, SourceError
from consumer.ports import TopicPartition as Partition
from tests.memory.broker import MemoryBroker
from tests.memory.sink import MemorySink
from tests.memory.source import MemorySource
from tests.publishing import PublishingSink, positions


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.events: list[str | frozenset[Partition]] = []

    async def revoking(self) -> None:
        self.events.append("revoking")

    async def assigned(self, partitions: Collection[Partition]) -> None:
        self.events.append(frozenset(partitions))


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker(metadata_limit_characters=100)
    broker.create_topic("t", partitions=2)
    return broker


P0, P1 = Partition("t", 0), Partition("t", 1)


def messages(count: int) -> list[Message]:
    return [Message("t", None, b"%d" % n, []) for n in range(count)]


async def join(broker: MemoryBroker) -> tuple[MemorySource, Listener]:
    source, listener = MemorySource(broker, "t", "g"), Listener()
    await source.start(listener)
    await quiet()
    return source, listener


async def quiet() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_crashed_member_keeps_its_partitions_until_its_session_expires(
    broker: MemoryBroker,
) -> None:
    first, first_told = await join(broker)
    second, second_told = await join(broker)
    assigned = second_told.events[-1]
    assert isinstance(assigned, frozenset)
    (lost,) = assigned

    await second.crash()
    await quiet()
    assert len(first_told.events[-1]) == 1
    second.expire()
    await quiet()

    assert first_told.events[-2:] == ["revoking", frozenset({P0, P1})]
    assert second_told.events == [frozenset({lost})]
    await first.stop()


async def test_a_member_whose_session_expired_comes_back_and_its_stale_commit_is_refused(
    broker: MemoryBroker,
) -> None:
    first, told = await join(broker)
    second, _ = await join(broker)

    first.expire()
    with pytest.raises(CommitRefusedError):
        await first.commit({P0: OffsetAndMetadata(1, "")})
    await quiet()

    assert told.events[-2] == "revoking"
    assert len(told.events[-1]) == 1
    await first.stop()
    await second.stop()


async def test_a_member_that_does_not_join_in_time_is_expelled(broker: MemoryBroker) -> None:
    class Slow(Listener):
        async def revoking(self) -> None:
            await asyncio.Event().wait()

    held_up = MemorySource(broker, "t", "g")
    await held_up.start(Slow())
    await quiet()
    patient, told = MemorySource(broker, "t", "g", rebalance_timeout_s=0.05), Listener()

    await patient.start(told)
    async with asyncio.timeout(10):
        while not told.events:
            await asyncio.sleep(0.01)

    assert told.events == [frozenset({P0, P1})]
    await held_up.stop()
    await patient.stop()


async def test_while_the_broker_is_away_nothing_comes_and_nothing_is_lost(
    broker: MemoryBroker,
) -> None:
    source, _ = await join(broker)
    sink = PublishingSink(MemorySink(broker))
    await sink.start()
    broker.append(messages(1))
    broker.go_away()
    publishing = asyncio.create_task(sink.publish(messages(1)))
    committing = asyncio.create_task(source.commit({P0: OffsetAndMetadata(0, "m")}))

    assert await source.poll([P0, P1], 10, 0.02) == []
    assert not publishing.done()
    assert not committing.done()
    broker.come_back()
    await asyncio.gather(publishing, committing)

    assert len(await source.poll([P0, P1], 10, 0.02)) == 2
    assert (await source.committed([P0]))[P0] == OffsetAndMetadata(0, "m")
    await source.stop()


async def test_compaction_leaves_gaps(broker: MemoryBroker) -> None:
    broker.append([Message("t", b"k", b"%d" % n, []) for n in range(6)])
    (partition,) = {record.partition for record in broker.records("t")}
    broker.log(partition).delete([0, 2, 3, 5])
    source, _ = await join(broker)

    records = await source.poll([partition], 10, 0)
    assert [record.offset for record in records] == [1, 4]
    await source.poll([partition], 10, 0)
    assert source.position(partition) == 6
    await source.stop()


async def test_a_changed_limit_counts_from_then_on(broker: MemoryBroker) -> None:
    sink = PublishingSink(MemorySink(broker))
    await sink.start()
    broker.set_message_limit("t", 10)

    messages = [
        Message("t", b"12345", b"12345", []),
        Message("t", b"12345", b"12345", [("h", b"")]),
    ]

    assert positions(await sink.publish(messages), messages) == [1]


async def test_commit_metadata_over_the_limit_is_refused(broker: MemoryBroker) -> None:
    source, _ = await join(broker)

    with pytest.raises(SourceError, match="101 characters"):
        await source.commit({P0: OffsetAndMetadata(0, "x" * 101)})
    await source.stop()


async def test_what_a_listener_raises_ends_the_source(broker: MemoryBroker) -> None:
    class Failing(Listener):
        async def assigned(self, partitions: Collection[Partition]) -> None:
            raise RuntimeError("no ledger for you")

    source = MemorySource(broker, "t", "g")
    await source.start(Failing())

    with pytest.raises(SourceError, match="no ledger for you"):
        await source.poll([P0], 1, 1.0)
    await source.stop()


async def test_topics_have_to_exist(broker: MemoryBroker) -> None:
    sink = PublishingSink(MemorySink(broker))
    await sink.start()

    with pytest.raises(SourceError, match="create it"):
        await MemorySource(broker, "missing", "g").start(Listener())
    with pytest.raises(SourceError, match="create it"):
        await sink.publish([Message("missing", b"k", b"v", [])])
    with pytest.raises(ValueError, match="exists"):
        broker.create_topic("t", partitions=1)
