"""What a real broker refuses for good: the refused message is found, and the setting is named."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.producer import message_accumulator
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from consumer.kafka.transactions import batches as transaction_batches
from consumer.ports import Message
from headrace.topics import find_unfit_topics
from schemas.settings.file import Settings
from tests.brokers import TestBroker
from tests.contract.publisher import Publisher, make_publisher
from tests.contract.worlds import KafkaWorld, make_route

pytestmark = pytest.mark.kafka

COMPACT = {"cleanup.policy": "compact"}
HOUR_MS = 3_600_000


@pytest.fixture
async def world(kafka_broker: TestBroker) -> AsyncIterator[KafkaWorld]:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker keeps no settings for each topic")
    made = KafkaWorld(kafka_broker)
    yield made
    await made.close()


@pytest.fixture(params=["at_least_once", "exactly_once"])
async def publisher(request: pytest.FixtureRequest, world: KafkaWorld) -> Publisher:
    """Not started: a sink reads its topics' settings then."""
    return await make_publisher(world, request.param)


def keyless_among(topic: str) -> list[Message]:
    return [Message(topic, None if n in {3, 17} else b"k", b"%d" % n, []) for n in range(20)]


async def assert_only_keyless_are_missing(publisher: Publisher) -> None:
    expected = [b"%d" % n for n in range(20) if n not in {3, 17}]
    assert await publisher.world.published(publisher.requests.topic) == expected


async def test_a_compacted_topic_costs_messages_without_a_key_and_nobody_else(
    world: KafkaWorld, publisher: Publisher
) -> None:
    await world.set_topic(publisher.own, COMPACT)
    await publisher.start()

    rejections = await publisher.publish(keyless_among(publisher.own))

    assert len(rejections) == 2
    assert all("cleanup.policy=delete" in each.reason for each in rejections)
    await assert_only_keyless_are_missing(publisher)


async def test_a_topic_that_is_compacted_later_is_found_out_and_named(
    world: KafkaWorld, publisher: Publisher
) -> None:
    await publisher.start()
    await world.set_topic(publisher.own, COMPACT)

    rejections = await publisher.publish(keyless_among(publisher.own))

    assert len(rejections) == 2
    assert not any(each.is_too_large for each in rejections)
    assert all("cleanup.policy=delete" in each.reason for each in rejections)
    await assert_only_keyless_are_missing(publisher)


class LateBuilder:
    """Builds batches on a machine whose clock is two hours late."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        self._builder = DefaultRecordBatchBuilder(*positional, **named)

    def append(self, offset: int, _timestamp: None, *positional: Any, **named: Any) -> Any:
        late_ms = round(datetime.now(UTC).timestamp() * 1000) - 2 * HOUR_MS
        return self._builder.append(offset, late_ms, *positional, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)


async def test_a_topic_that_refuses_what_is_too_old_is_named(
    world: KafkaWorld, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    # (Lower limits refuse the brokers' own transaction markers too.)
    await world.set_topic(publisher.own, {"message.timestamp.before.max.ms": str(HOUR_MS)})
    await publisher.start()
    messages = [Message(publisher.own, b"k", b"%d" % n, []) for n in range(3)]
    with monkeypatch.context() as late:
        late.setattr(transaction_batches, "DefaultRecordBatchBuilder", LateBuilder)
        late.setattr(message_accumulator, "DefaultRecordBatchBuilder", LateBuilder)
        late.setattr(BatchBuilder, "_set_producer_state", set_producer_state)

        rejections = await publisher.publish(messages)

    assert len(rejections) == 3
    assert all("message.timestamp.before.max.ms" in each.reason for each in rejections)
    assert not any("Unknown" in each.reason for each in rejections)
    assert await publisher.publish(messages) == []
    assert await publisher.world.published(publisher.requests.topic) == [b"0", b"1", b"2"]


def set_producer_state(batch: BatchBuilder, *state: int) -> None:
    """Like aiokafka's own, which insists on the builder's type."""
    batch._builder.set_producer_state(*state)


async def test_topics_that_cannot_take_what_is_published_are_found(world: KafkaWorld) -> None:
    requests = await world.topic()
    results, dead_letters = await world.results_topics(requests, partitions=1)
    await world.set_topic(results, COMPACT)
    await world.set_topic(dead_letters, {"max.message.bytes": "1000"})
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap": world.broker.bootstrap},
            "models": {"m": {"kind": "custom", "import_path": "m:C", "urls": ["/x"]}},
            "routes": {"r": make_route(requests, "g").model_dump()},
        }
    )

    problems = await asyncio.to_thread(find_unfit_topics, settings)

    assert len(problems) == 2
    assert f"topic {results}: cleanup.policy=compact" in problems[0]
    assert f"topic {dead_letters}: max.message.bytes=1000" in problems[1]
