"""Zombies, timeouts and lost answers: a transaction takes effect once, and only for its owner."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.protocol.api import Request
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    TxnOffsetCommitRequest,
)

from consumer.kafka.admin.group_lags import GroupLags
from consumer.kafka.transactions import sink as transactions
from consumer.kafka.transactions.names import earlier_transactional_id_of
from consumer.kafka.transactions.sink import KafkaTransactionalSink
from consumer.ports import FencedError, Message, OffsetAndMetadata, SourceError
from consumer.ports import TopicPartition as Partition
from tests.brokers import TestBroker
from tests.contract.worlds import KafkaWorld, make_route

pytestmark = pytest.mark.kafka

STEPS = [
    AddPartitionsToTxnRequest,
    AddOffsetsToTxnRequest,
    ProduceRequest,
    TxnOffsetCommitRequest,
    EndTxnRequest,
]


@pytest.fixture
async def world(kafka_broker: TestBroker) -> AsyncIterator[KafkaWorld]:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker fences nobody, and loses acknowledged records")
    made = KafkaWorld(kafka_broker)
    yield made
    await made.close()


@pytest.fixture
async def topic(world: KafkaWorld) -> str:
    name = await world.topic()
    await world.results_topics(name)
    await world.write(name, [b"request"] * 10)
    return name


class Interference:
    """Stands between a sink and the brokers: loses answers, and delays requests."""

    def __init__(self, sink: KafkaTransactionalSink, monkeypatch: pytest.MonkeyPatch) -> None:
        assert sink._connected is not None
        self._client = sink._connected.client._client
        self._send = self._client.send
        self.lost_answers: list[type] = []
        self.lost_requests: list[type] = []
        self.held_up: type | None = None
        self.is_held_up = asyncio.Event()
        self.go_on = asyncio.Event()
        monkeypatch.setattr(self._client, "send", self.send)

    async def send(self, node_id: int, request: Request[Any], **options: Any) -> Any:
        if type(request) is self.held_up:
            self.held_up = None
            self.is_held_up.set()
            await self.go_on.wait()
        if type(request) in self.lost_requests:
            self.lost_requests.remove(type(request))
            raise errors.KafkaConnectionError("cut off before it was sent")
        response = await self._send(node_id, request, **options)
        if type(request) in self.lost_answers:
            self.lost_answers.remove(type(request))
            raise errors.KafkaConnectionError("cut off before the answer came")
        return response


def results(topic: str, *values: bytes) -> list[Message]:
    return [Message(f"{topic}-results", b"k", value, []) for value in values]


async def owner(world: KafkaWorld, topic: str, timeout_ms: int = 60_000) -> KafkaTransactionalSink:
    route = make_route(topic, f"{topic}-g")
    route = route.model_copy(
        update={"transactions": route.transactions.model_copy(update={"timeout_ms": timeout_ms})}
    )
    sink = KafkaTransactionalSink(world.settings, route)
    world._sinks.append(sink)
    await sink.start()
    await sink.take_over([Partition(topic, 0)])
    return sink


@pytest.mark.parametrize("step", STEPS)
async def test_a_lost_answer_costs_nothing(
    world: KafkaWorld, topic: str, monkeypatch: pytest.MonkeyPatch, step: type
) -> None:
    sink = await owner(world, topic)
    interference = Interference(sink, monkeypatch)
    interference.lost_answers = [step, step]
    interference.lost_requests = [step]

    assert (
        await sink.publish(Partition(topic, 0), results(topic, b"1"), OffsetAndMetadata(1, ""))
        == []
    )
    assert (
        await sink.publish(Partition(topic, 0), results(topic, b"2"), OffsetAndMetadata(2, ""))
        == []
    )

    assert not interference.lost_answers
    assert not interference.lost_requests
    assert await world.published(topic) == [b"1", b"2"]
    assert await world.committed(topic) == OffsetAndMetadata(2, "")


@pytest.mark.parametrize("step", STEPS)
async def test_a_zombie_that_wakes_in_mid_transaction_changes_nothing(
    world: KafkaWorld, topic: str, monkeypatch: pytest.MonkeyPatch, step: type
) -> None:
    partition = Partition(topic, 0)
    zombie = await owner(world, topic)
    assert await zombie.publish(partition, results(topic, b"1"), OffsetAndMetadata(1, "")) == []
    interference = Interference(zombie, monkeypatch)
    interference.held_up = step
    publishing = asyncio.create_task(
        zombie.publish(partition, results(topic, b"zombie"), OffsetAndMetadata(2, "zombie"))
    )
    await asyncio.wait_for(interference.is_held_up.wait(), 10)

    heir = await owner(world, topic)
    assert await world.committed(topic) == OffsetAndMetadata(1, "")
    assert await heir.publish(partition, results(topic, b"2"), OffsetAndMetadata(2, "")) == []
    interference.go_on.set()
    with pytest.raises(FencedError):
        await publishing
    assert await heir.publish(partition, results(topic, b"3"), OffsetAndMetadata(3, "")) == []

    assert await world.published(topic) == [b"1", b"2", b"3"]
    assert await world.committed(topic) == OffsetAndMetadata(3, "")


async def test_a_zombie_that_wakes_while_its_heir_is_in_a_transaction_costs_it_a_try_at_most(
    world: KafkaWorld, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = Partition(topic, 0)
    zombie = await owner(world, topic)
    in_zombie = Interference(zombie, monkeypatch)
    in_zombie.held_up = EndTxnRequest
    publishing = asyncio.create_task(
        zombie.publish(partition, results(topic, b"zombie"), OffsetAndMetadata(1, "zombie"))
    )
    await asyncio.wait_for(in_zombie.is_held_up.wait(), 10)
    heir = await owner(world, topic)
    in_heir = Interference(heir, monkeypatch)
    in_heir.held_up = EndTxnRequest
    inheriting = asyncio.create_task(
        heir.publish(partition, results(topic, b"heir"), OffsetAndMetadata(1, "heir"))
    )
    await asyncio.wait_for(in_heir.is_held_up.wait(), 10)

    in_zombie.go_on.set()
    with pytest.raises(FencedError):
        await publishing
    in_heir.go_on.set()

    assert await inheriting == []
    assert await world.published(topic) == [b"heir"]
    assert await world.committed(topic) == OffsetAndMetadata(1, "heir")


async def test_a_commit_whose_answer_a_zombie_never_saw_stands(
    world: KafkaWorld, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = Partition(topic, 0)
    zombie = await owner(world, topic)
    interference = Interference(zombie, monkeypatch)
    interference.lost_answers = [EndTxnRequest]
    send = interference.send

    async def send_and_hold_up_after_loss(
        node_id: int, request: Request[Any], **options: Any
    ) -> Any:
        try:
            return await send(node_id, request, **options)
        except errors.KafkaConnectionError:
            interference.is_held_up.set()
            await interference.go_on.wait()
            raise

    assert zombie._connected is not None
    monkeypatch.setattr(zombie._connected.client._client, "send", send_and_hold_up_after_loss)
    publishing = asyncio.create_task(
        zombie.publish(partition, results(topic, b"1"), OffsetAndMetadata(1, "mine"))
    )
    await asyncio.wait_for(interference.is_held_up.wait(), 10)

    heir = await owner(world, topic)
    assert await world.committed(topic) == OffsetAndMetadata(1, "mine")
    interference.go_on.set()
    assert await publishing == []
    with pytest.raises(FencedError):
        await zombie.publish(partition, results(topic, b"zombie"), OffsetAndMetadata(2, ""))
    assert await heir.publish(partition, results(topic, b"2"), OffsetAndMetadata(2, "")) == []

    assert await world.published(topic) == [b"1", b"2"]


async def test_a_transaction_that_the_coordinator_timed_out_begins_again(
    world: KafkaWorld, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = Partition(topic, 0)
    sink = await owner(world, topic, timeout_ms=1000)
    interference = Interference(sink, monkeypatch)
    interference.held_up = EndTxnRequest
    publishing = asyncio.create_task(
        sink.publish(partition, results(topic, b"1"), OffsetAndMetadata(1, ""))
    )
    await asyncio.wait_for(interference.is_held_up.wait(), 10)
    # Its coordinator looks for old transactions every 10 s; an open one blocks the readers.
    async with GroupLags(world.settings) as group_lags, asyncio.timeout(60):
        while not any(
            lag.log_end for lag in (await group_lags.read("g", f"{topic}-results")).values()
        ):
            await asyncio.sleep(0.2)
    interference.go_on.set()

    assert await publishing == []
    assert await sink.publish(partition, results(topic, b"2"), OffsetAndMetadata(2, "")) == []
    assert await world.published(topic) == [b"1", b"2"]
    assert await world.committed(topic) == OffsetAndMetadata(2, "")


async def test_a_message_that_the_broker_refuses_is_found_and_nothing_is_published(
    world: KafkaWorld, topic: str
) -> None:
    sink = await owner(world, topic)
    name = f"{topic}-results"
    # The sink read the limit at its start; now the topic takes less.
    await world.set_topic(name, {"max.message.bytes": "2000"})
    messages = [Message(name, b"k", b"%d" % n, []) for n in range(40)]
    messages[13] = Message(name, b"k", b"x" * 5000, [])

    rejections = await sink.publish(Partition(topic, 0), messages, OffsetAndMetadata(1, ""))

    assert [rejection.message for rejection in rejections] == [messages[13]]
    assert "refuses" in rejections[0].reason
    assert (
        await sink.publish(Partition(topic, 0), results(topic, b"ok"), OffsetAndMetadata(1, ""))
        == []
    )
    assert await world.published(topic) == [b"ok"]


async def test_a_caller_that_is_cancelled_leaves_it_to_the_next_owner(
    world: KafkaWorld, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = Partition(topic, 0)
    sink = await owner(world, topic)
    interference = Interference(sink, monkeypatch)
    interference.held_up = EndTxnRequest
    publishing = asyncio.create_task(
        sink.publish(partition, results(topic, b"gone"), OffsetAndMetadata(1, "gone"))
    )
    await asyncio.wait_for(interference.is_held_up.wait(), 10)

    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    with pytest.raises(FencedError):
        await sink.publish(partition, results(topic, b"1"), OffsetAndMetadata(1, ""))
    await sink.take_over([partition])
    assert await sink.publish(partition, results(topic, b"1"), OffsetAndMetadata(1, "")) == []

    assert await world.published(topic) == [b"1"]


async def test_stopping_aborts_what_is_open(
    world: KafkaWorld, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await owner(world, topic)
    interference = Interference(sink, monkeypatch)
    interference.held_up = EndTxnRequest
    publishing = asyncio.create_task(
        sink.publish(Partition(topic, 0), results(topic, b"gone"), OffsetAndMetadata(1, "gone"))
    )
    await asyncio.wait_for(interference.is_held_up.wait(), 10)

    await sink.stop()

    with pytest.raises(SourceError):
        await publishing
    # An open transaction would block its readers.
    assert await world.published(topic) == []
    assert await world.committed(topic) is None


async def test_a_partition_let_go_in_mid_transaction_is_fenced(
    world: KafkaWorld, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await owner(world, topic)
    interference = Interference(sink, monkeypatch)
    interference.held_up = EndTxnRequest
    publishing = asyncio.create_task(
        sink.publish(Partition(topic, 0), results(topic, b"gone"), OffsetAndMetadata(1, "gone"))
    )
    await asyncio.wait_for(interference.is_held_up.wait(), 10)

    await sink.take_over([])

    with pytest.raises(FencedError):
        await publishing
    assert await world.published(topic) == []


async def test_an_owner_of_the_release_before_is_fenced_though_its_ids_had_other_names(
    world: KafkaWorld, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = Partition(topic, 0)
    with monkeypatch.context() as earlier:
        earlier.setattr(transactions, "transactional_id_of", earlier_transactional_id_of)
        zombie = await owner(world, topic)
    assert await zombie.publish(partition, results(topic, b"1"), OffsetAndMetadata(1, "")) == []
    interference = Interference(zombie, monkeypatch)
    interference.held_up = EndTxnRequest
    publishing = asyncio.create_task(
        zombie.publish(partition, results(topic, b"zombie"), OffsetAndMetadata(2, "zombie"))
    )
    await asyncio.wait_for(interference.is_held_up.wait(), 10)

    heir = await owner(world, topic)
    assert await world.committed(topic) == OffsetAndMetadata(1, "")
    assert await heir.publish(partition, results(topic, b"2"), OffsetAndMetadata(2, "")) == []
    interference.go_on.set()
    with pytest.raises(FencedError):
        await publishing
    assert await world.published(topic) == [b"1", b"2"]


async def test_what_was_left_open_is_forgotten_when_the_partition_is_taken_over_again(
    world: KafkaWorld, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = Partition(topic, 0)
    sink = await owner(world, topic)
    for _ in range(3):
        interference = Interference(sink, monkeypatch)
        interference.held_up = EndTxnRequest
        publishing = asyncio.create_task(
            sink.publish(partition, results(topic, b"gone"), OffsetAndMetadata(1, "gone"))
        )
        await asyncio.wait_for(interference.is_held_up.wait(), 10)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        assert list(sink._left_open) == [partition]
        await sink.take_over([partition])
        assert not sink._left_open
