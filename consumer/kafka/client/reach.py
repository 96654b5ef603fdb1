"""Starts of Kafka clients that say so if the brokers that a cluster names cannot be reached."""

from collections.abc import Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient

from consumer.ports import SourceError
from headrace_client.kafka import reach


async def start_within_reach(consumer: AIOKafkaConsumer, doing: str) -> None:
    await within_reach(consumer.start(), consumer._client, doing)  # noqa: SLF001 - nothing public


async def within_reach(
    starting: Coroutine[Any, Any, None], client: AIOKafkaClient, doing: str
) -> None:
    """Await a client's start; ``SourceError`` if it fails and no broker can be reached."""
    await reach.within_reach(starting, client, doing, SourceError)
