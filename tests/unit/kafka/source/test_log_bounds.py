"""Asking for logs' bounds while some partitions have no leader."""

import asyncio

import pytest
from aiokafka import errors
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.source.logs import ask_each
from consumer.ports import TopicPartition

LED, LEADERLESS, REFUSED = (TopicPartition("t", number) for number in range(3))


async def ask(partitions: list[KafkaPartition]) -> dict[KafkaPartition, int]:
    (partition,) = partitions
    if partition == LEADERLESS:
        await asyncio.Event().wait()
    if partition == REFUSED:
        raise errors.TopicAuthorizationFailedError("t")
    return {partition: 7}


async def test_a_partition_without_an_answer_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = await asyncio.wait_for(ask_each(ask, [LED, LEADERLESS, REFUSED], 0.05), 5)

    assert found == {LED: 7}
    assert "partition=1" in caplog.text
    assert "TopicAuthorizationFailed" in caplog.text


async def test_nothing_to_ask_asks_nothing() -> None:
    assert await ask_each(ask, [], 0.05) == {}


async def test_an_unforeseen_error_is_not_swallowed() -> None:
    async def fail(partitions: list[KafkaPartition]) -> dict[KafkaPartition, int]:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        await ask_each(fail, [LED], 0.05)
