"""Records are spread and batched; a refused one fails alone; nothing is lost meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.cluster import ClusterMetadata
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from headrace_client import ClosedError, Connection, DeliveryError, KafkaError
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.wire.names import Place

PARTITIONS = 4
POISON = b"poison"


class Cluster(ClusterMetadata):  # type: ignore[misc]  # aiokafka is untyped
    def __init__(self) -> None:
        self.leaders = dict.fromkeys(range(PARTITIONS), 1)

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(self.leaders)

    def leader_for_partition(self, partition: Any) -> int:
        return self.leaders[partition.partition]


class Builder(BatchBuilder):  # type: ignore[misc]  # aiokafka is untyped
    def __init__(self) -> None:
        super().__init__(1_000, 0)
        self.values: list[bytes] = []

    def append(self, **record: Any) -> Any:
        fits = super().append(**record)
        if fits is not None:
            self.values.append(record["value"])
        return fits


class Producer:
    """Keeps what is sent until the test acknowledges it; refuses a batch with poison in it."""

    def __init__(self) -> None:
        self.logs: dict[int, list[bytes]] = {number: [] for number in range(PARTITIONS)}
        self.batches: list[tuple[int, Builder, asyncio.Future[Any]]] = []
        self.is_closed = False
        self.fails_with: errors.KafkaError | None = None

    def create_batch(self) -> Builder:
        return Builder()

    async def send_batch(self, builder: Builder, topic: str, *, partition: int) -> Any:
        if self.is_closed:
            raise errors.ProducerClosed
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.batches.append((partition, builder, future))
        return future

    def acknowledge(self) -> None:
        batches, self.batches = self.batches, []
        for partition, builder, future in batches:
            log = self.logs[partition]
            if self.fails_with is not None:
                future.set_exception(self.fails_with)
            elif POISON in builder.values:
                future.set_exception(errors.MessageSizeTooLargeError())
            else:
                found = RecordMetadata("rq", partition, None, len(log), -1, 0, 0)
                future.set_result(found)
                log.extend(builder.values)


class Slot:
    def __init__(self) -> None:
        self.producer = Producer()
        self.cluster = Cluster()
        self.retired = 0

    async def get(self) -> Producer:
        return self.producer

    def retire(self, producer: Producer) -> None:
        self.retired += 1

    async def learn_leaders(self) -> None: ...

    async def stop(self) -> None: ...


@pytest.fixture
def slot() -> Slot:
    return Slot()


@pytest.fixture
async def publisher(slot: Slot) -> AsyncIterator[RequestPublisher]:
    found = RequestPublisher(Connection(), "rq")
    found._slot = slot  # type: ignore[assignment]  # what stands in for Kafka
    yield found
    await found.close()


async def settle(slot: Slot, times: int = 40) -> None:
    for _turn in range(times):
        for _step in range(6):
            await asyncio.sleep(0)
        slot.producer.acknowledge()


async def test_each_record_has_its_place(publisher: RequestPublisher, slot: Slot) -> None:
    futures = [publisher.publish(b"%d" % number) for number in range(200)]
    assert publisher.waiting_records == 200

    await settle(slot)

    for number, future in enumerate(futures):
        topic, partition, offset = await future
        assert topic == "rq"
        assert slot.producer.logs[partition][offset] == b"%d" % number
    assert all(slot.producer.logs.values())
    assert publisher.waiting_records == 0
    await publisher.flush()


async def test_a_partition_has_one_batch_under_way(publisher: RequestPublisher, slot: Slot) -> None:
    for number in range(500):
        publisher.publish(b"%d" % number)
    for _step in range(20):
        await asyncio.sleep(0)

    assert sorted(partition for partition, _, _ in slot.producer.batches) == [0, 1, 2, 3]
    await settle(slot)


async def test_a_key_has_javas_partition(publisher: RequestPublisher, slot: Slot) -> None:
    keys = (b"21", b"foobar", b"a-little-bit-long-string")
    keyed = [publisher.publish(b"v", key=key) for key in keys]
    await settle(slot)

    # As org.apache.kafka.common.utils.Utils.murmur2 hashes them.
    hashes = (-973932308, -790332482, -985981536)
    assert [(await each).partition for each in keyed] == [
        (each & 0x7FFFFFFF) % PARTITIONS for each in hashes
    ]


async def test_a_refused_record_fails_alone(publisher: RequestPublisher, slot: Slot) -> None:
    values = [b"%d" % number for number in range(60)]
    values[17] = POISON
    futures = [publisher.publish(value) for value in values]
    await settle(slot)

    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    refused = outcomes.pop(17)
    assert isinstance(refused, DeliveryError)
    assert refused.is_too_large
    assert all(isinstance(each, Place) for each in outcomes)
    stored = [value for log in slot.producer.logs.values() for value in log]
    assert sorted(stored) == sorted(value for value in values if value != POISON)
    # Its sequence numbers have a gap after a refusal.
    assert slot.retired > 0


async def test_a_partition_without_a_leader_is_left_out(
    publisher: RequestPublisher, slot: Slot
) -> None:
    slot.cluster.leaders[2] = -1
    futures = [publisher.publish(b"%d" % number) for number in range(40)]
    await settle(slot)

    assert {(await each).partition for each in futures} == {0, 1, 3}


async def test_records_wait_while_no_partition_has_a_leader(
    publisher: RequestPublisher, slot: Slot
) -> None:
    slot.cluster.leaders = dict.fromkeys(range(PARTITIONS), -1)
    future = publisher.publish(b"v")
    await settle(slot)
    assert not future.done()

    slot.cluster.leaders = dict.fromkeys(range(PARTITIONS), 1)
    publisher._learn_leaders()
    await settle(slot)
    assert (await future).offset == 0


async def test_a_batch_of_a_replaced_producer_is_sent_by_the_next(
    publisher: RequestPublisher, slot: Slot
) -> None:
    old, slot.producer.is_closed = slot.producer, True
    future = publisher.publish(b"v")
    await asyncio.sleep(0)
    slot.producer = Producer()
    await settle(slot)

    assert (await future).offset == 0
    assert old.batches == []


async def test_an_error_for_good_ends_everything(publisher: RequestPublisher, slot: Slot) -> None:
    slot.producer.fails_with = errors.TopicAuthorizationFailedError("rq")
    futures = [publisher.publish(b"%d" % number) for number in range(300)]
    await settle(slot)

    for future in futures:
        with pytest.raises(KafkaError, match="grant this user Write"):
            await future
    assert publisher.failure is not None
    with pytest.raises(KafkaError):
        await publisher.publish(b"later")
    await publisher.flush()


async def test_a_closed_publisher_fails_what_waits(publisher: RequestPublisher, slot: Slot) -> None:
    future = publisher.publish(b"v")
    await asyncio.sleep(0)
    await publisher.close()

    with pytest.raises(ClosedError):
        await future
