"""A producer that is cut off leaves nobody waiting."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, errors
from aiokafka.structs import TopicPartition

from consumer.kafka.sink import producer_slot
from consumer.kafka.sink.producer_slot import ProducerSlot
from schemas.settings.file import KafkaSettings


async def test_the_batches_of_a_producer_that_is_cut_off_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(producer_slot, "RETIRE_TIMEOUT_S", 0.05)
    producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1")
    stopping: list[str] = []

    async def hang() -> None:
        stopping.append("hangs")
        await asyncio.Event().wait()

    monkeypatch.setattr(producer, "stop", hang)
    slot = ProducerSlot(KafkaSettings(bootstrap="127.0.0.1:1"), 1000, "testing")
    slot._producer = producer
    accumulator = producer._message_accumulator
    builder = producer.create_batch()
    builder.append(timestamp=None, key=b"k", value=b"v", headers=[])
    acknowledgement = await accumulator.add_batch(builder, TopicPartition("t", 0), 1.0)

    slot.retire(producer)

    with pytest.raises(errors.ProducerClosed):
        await asyncio.wait_for(acknowledgement, 5)
    assert stopping == ["hangs"]
    await slot.stop()
    await AIOKafkaProducer.stop(producer)
