"""Tells a job's runner something, and the service that a job is cancelled."""

import asyncio

from headrace_client.errors import KafkaError
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.registry.announcements import Command
from headrace_client.settings import Connection
from headrace_client.wire.names import Place
from headrace_client.wire.requests import ControlRecord

PUBLISH_WITHIN_S = 30.0


async def publish_command(connection: Connection, topic: str, command: Command) -> Place:
    """Tell a job's runner; it hears it within seconds, or when it starts again."""
    return await _publish(connection, topic, command.key, command.encode())


async def publish_cancellation(
    connection: Connection, control_topic: str, cancellation: ControlRecord
) -> Place:
    """Tell the service that what is published of a job until now is not to be computed."""
    return await _publish(connection, control_topic, cancellation.key, cancellation.value)


async def _publish(connection: Connection, topic: str, key: bytes, value: bytes) -> Place:
    try:
        async with asyncio.timeout(PUBLISH_WITHIN_S), RequestPublisher(connection, topic) as to:
            return await to.publish(value, key=key)
    except TimeoutError:
        raise KafkaError(
            f"writing to {topic}: no broker has acknowledged it within {PUBLISH_WITHIN_S:g} s; "
            "it may be published yet: check that the topic's partitions have a leader"
        ) from None
