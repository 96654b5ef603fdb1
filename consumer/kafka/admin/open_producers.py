"""Which producer holds a partition's readers back by a transaction that it has left open."""

import asyncio
from collections.abc import Collection
from typing import NamedTuple

from aiokafka import errors

from consumer.kafka.client.cluster_client import ClusterClient, numbers_by_topic
from consumer.kafka.transactions.errors import NONE
from consumer.kafka.transactions.wire import DescribeProducersRequest
from consumer.ports import TopicPartition
from schemas.settings.file import KafkaSettings


class OpenProducer(NamedTuple):
    """A producer with a transaction open in a partition.

    Attributes:
        producer_id: The broker's id of it; Kafka's transaction tool finds the rest by it.
        since_offset: Where its transaction begins.
        last_ms: When it wrote there last, in epoch milliseconds.
    """

    producer_id: int
    since_offset: int
    last_ms: int


async def open_producers(
    settings: KafkaSettings, partitions: Collection[TopicPartition], timeout_s: float
) -> dict[TopicPartition, OpenProducer]:
    """Return the producer whose open transaction begins first, of each partition that has one.

    A partition whose leader does not answer is left out, as is one that this user may not read.
    """
    client = ClusterClient(settings, "headrace-open-producers", int(timeout_s * 1000))
    found: dict[TopicPartition, OpenProducer] = {}
    try:
        async with asyncio.timeout(timeout_s):
            await client.start({each.topic for each in partitions})
            for leader, led in client.leaders(partitions).items():
                if leader is None:
                    continue
                request = DescribeProducersRequest(numbers_by_topic(led))
                for topic, results, *_tags in (await client.ask_broker(leader, request)).topics:
                    for number, code, _message, producers, *_more in results:
                        open_since = [
                            (since, producer_id, last_ms)
                            for producer_id, _, _, last_ms, _, since, _tags in producers
                            if since >= 0
                        ]
                        if code == NONE and open_since:
                            since, producer_id, last_ms = min(open_since)
                            found[TopicPartition(topic, number)] = OpenProducer(
                                producer_id, since, last_ms
                            )
    except (TimeoutError, errors.KafkaError):
        # Whoever asks shows what is known; that a partition is blocked it knows already.
        return found
    finally:
        await client.close()
    return found
