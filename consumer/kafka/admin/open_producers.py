"""Which producer stops a partition's readers at a transaction that it has left open."""

import asyncio
from collections.abc import Collection

from aiokafka import errors

from consumer.kafka.client.cluster_client import ClusterClient
from consumer.kafka.client.producers import (
    DescribeProducersRequest,
    OpenProducer,
    read_open_producers,
)
from consumer.ports import TopicPartition
from schemas.settings.file import KafkaSettings


async def open_producers(
    settings: KafkaSettings, partitions: Collection[TopicPartition], timeout_s: float
) -> dict[TopicPartition, OpenProducer]:
    """Return the producer whose open transaction begins first, of each partition that has one.

    Partitions whose leader does not answer are left out, as are those that this user may not read.
    """
    client = ClusterClient(settings, "headrace-open-producers", int(timeout_s * 1000))
    found: dict[TopicPartition, OpenProducer] = {}
    try:
        async with asyncio.timeout(timeout_s):
            await client.start({each.topic for each in partitions})
            for leader, led in client.leaders(partitions).items():
                if leader is not None:
                    response = await client.ask_broker(leader, DescribeProducersRequest(led))
                    for partition, _code, producers in read_open_producers(response):
                        if producers:
                            found[partition] = min(producers)
    except (TimeoutError, errors.KafkaError):
        # The caller shows what was found; it knows already that the partitions are blocked.
        return found
    finally:
        await client.close()
    return found
