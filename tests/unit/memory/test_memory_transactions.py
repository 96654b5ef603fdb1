"""The failures that the transactional sink in memory can be told to have."""

import asyncio

import pytest

from consumer.ports import FencedError, Message, OffsetAndMetadata, SourceError
from consumer.ports import TopicPartition as Partition
from tests.memory.broker import MemoryBroker
from tests.memory.transactions import MemoryTransactionalSink, TransactionFailure

P0 = Partition("in", 0)
FOREVER_S = 1000.0


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker(metadata_limit_characters=100)
    broker.create_topic("in", partitions=1)
    broker.create_topic("out", partitions=1)
    return broker


async def owner(broker: MemoryBroker, transaction_s: float = 0.0) -> MemoryTransactionalSink:
    sink = MemoryTransactionalSink(broker, "g", transaction_s=transaction_s)
    await sink.start()
    await sink.take_over([P0])
    return sink


def message(value: bytes) -> Message:
    return Message("out", b"k", value, [])


def values(broker: MemoryBroker) -> list[bytes | None]:
    return [record.value for record in broker.records("out")]


async def test_an_aborted_transaction_is_tried_again_and_only_uses_up_offsets(
    broker: MemoryBroker,
) -> None:
    sink = await owner(broker)
    sink.fail_next(TransactionFailure.ABORTED)

    assert await sink.publish(P0, [message(b"1")], OffsetAndMetadata(1, "")) == []

    assert values(broker) == [b"1"]
    # An aborted record, its marker, the record, its marker.
    assert broker.log(Partition("out", 0)).end_offset == 4
    assert broker.group("g", "in").committed == {P0: OffsetAndMetadata(1, "")}


async def test_a_commit_whose_answer_was_lost_counts_once(broker: MemoryBroker) -> None:
    sink = await owner(broker)
    sink.fail_next(TransactionFailure.UNANSWERED)

    assert await sink.publish(P0, [message(b"1")], OffsetAndMetadata(1, "")) == []

    assert values(broker) == [b"1"]


async def test_while_a_transaction_is_open_nothing_of_it_shows_and_an_heir_ends_it(
    broker: MemoryBroker,
) -> None:
    zombie = await owner(broker, transaction_s=0.05)
    publishing = asyncio.create_task(
        zombie.publish(P0, [message(b"zombie")], OffsetAndMetadata(1, ""))
    )
    await asyncio.sleep(0)
    assert values(broker) == []
    heir = await owner(broker)
    assert await heir.publish(P0, [message(b"heir")], OffsetAndMetadata(1, "")) == []

    with pytest.raises(FencedError):
        await publishing
    assert values(broker) == [b"heir"]


async def test_an_owner_that_was_not_fenced_keeps_its_epoch(broker: MemoryBroker) -> None:
    sink = await owner(broker, transaction_s=0.01)
    publishing = asyncio.create_task(sink.publish(P0, [message(b"1")], OffsetAndMetadata(1, "")))
    await asyncio.sleep(0)

    await sink.take_over([P0])

    assert await publishing == []


async def test_stopping_ends_a_transaction_under_way(broker: MemoryBroker) -> None:
    sink = await owner(broker, transaction_s=FOREVER_S)
    publishing = asyncio.create_task(sink.publish(P0, [message(b"1")], OffsetAndMetadata(1, "")))
    await asyncio.sleep(0)

    await sink.stop()

    with pytest.raises(SourceError):
        await publishing
    assert values(broker) == []


async def test_while_the_broker_is_away_a_transaction_waits(broker: MemoryBroker) -> None:
    sink = await owner(broker)
    broker.go_away()
    publishing = asyncio.create_task(sink.publish(P0, [message(b"1")], OffsetAndMetadata(1, "")))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not publishing.done()
    broker.come_back()

    assert await publishing == []
    assert values(broker) == [b"1"]


async def test_metadata_over_the_limit_publishes_nothing(broker: MemoryBroker) -> None:
    sink = await owner(broker)

    with pytest.raises(SourceError, match="101 characters"):
        await sink.publish(P0, [message(b"1")], OffsetAndMetadata(1, "x" * 101))
    assert values(broker) == []


async def test_topics_have_to_exist(broker: MemoryBroker) -> None:
    sink = await owner(broker)

    with pytest.raises(SourceError, match="create it"):
        await sink.publish(P0, [Message("missing", b"k", b"v", [])], OffsetAndMetadata(1, ""))
