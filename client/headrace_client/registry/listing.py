"""Reads the jobs topic to its end."""

import asyncio
import contextlib
from collections.abc import Iterable

from headrace_client.errors import ClientError
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.kafka.reading import TopicReader
from headrace_client.registry.standing import Registry
from headrace_client.settings import Connection

FETCH_BYTES = 4 * 1024 * 1024
_FORGET_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.5


async def read_registry(connection: Connection, topic: str) -> Registry:
    """Return the registry as it stands now; raises ``MissingTopicError`` and ``KafkaError``."""
    async with TopicReader(connection, topic, fetch_bytes=FETCH_BYTES) as reader:
        return await read_all(reader)


async def read_all(reader: TopicReader) -> Registry:
    """Read the jobs topic from its start to its end as it stands now."""
    registry = Registry()
    async for records in reader.scan({}):
        for record in records:
            registry.take(record.key, record.value)
    return registry


async def forget(connection: Connection, topic: str, keys: Iterable[bytes]) -> None:
    """Take keys out of the registry; does nothing where this user may not write to the topic."""
    wanted = list(keys)
    if not wanted:
        return
    with contextlib.suppress(ClientError, TimeoutError):
        async with asyncio.timeout(_FORGET_WITHIN_S), RequestPublisher(connection, topic) as to:
            for key in wanted:
                to.publish(None, key=key)


async def wait_for_end(connection: Connection, topic: str, job: str, timeout_s: float) -> bool:
    """Wait until a job's runner says that it has ended; return whether it did in time."""
    registry = Registry()
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(timeout_s),
            TopicReader(connection, topic, fetch_bytes=FETCH_BYTES) as reader,
        ):
            reader.assign({number: each.start for number, each in (await reader.bounds()).items()})
            while True:
                for record in await reader.read(_LOOK_EVERY_S):
                    registry.take(record.key, record.value)
                standing = registry.job(job)
                if standing is not None and not standing.announcement.is_running:
                    return True
    return False
