"""Looks whether the broker answers, and whether anybody reads the requests."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient

from headrace_client.errors import ClientError
from headrace_client.kafka.connecting import client_options, explaining_failures
from headrace_client.settings import Connection

LOOK_EVERY_S = 2.0
LOOK_TIMEOUT_S = 3.0
_SILENCE = (errors.KafkaConnectionError, errors.NodeNotReadyError, errors.RequestTimedOutError)
_MEMBERS = 5
_METADATA = 3
_MOST_GROUPS = 200


class Looks(Protocol):
    async def __call__(self) -> bool | None:
        """Whether a group reads the topic; ``None`` if it cannot be told."""


class Watch:
    """What was found, and for how long the broker has not answered.

    Args:
        look: Asks the cluster; raises ``ClientError`` or ``TimeoutError`` if it does not answer.
        clock: Seconds.
    """

    def __init__(self, look: Looks, clock: Callable[[], float]) -> None:
        self._look = look
        self._clock = clock
        self._silent_since_s: float | None = None
        self.has_consumers: bool | None = None

    async def look(self) -> None:
        began_s = self._clock()
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                self.has_consumers = await self._look()
        except (ClientError, TimeoutError) as error:
            self.has_consumers = None
            # Whatever else a broker says, it answers.
            if isinstance(error, TimeoutError) or isinstance(error.__cause__, _SILENCE):
                self._silent_since_s = self._silent_since_s or began_s
        else:
            self._silent_since_s = None

    def heard(self) -> None:
        """Note that the broker and the service answer."""
        self._silent_since_s = None
        self.has_consumers = None

    def silent_s(self) -> float | None:
        return None if self._silent_since_s is None else self._clock() - self._silent_since_s


def looking(connection: Connection, topic: str, group: str | None) -> Looks:
    """Return what asks a cluster for groups that read ``topic``: ``group``, or any if unset."""

    async def look() -> bool | None:
        client = AIOKafkaAdminClient(**client_options(connection), request_timeout_ms=2_000)
        with explaining_failures(connection, "asking for consumer groups"):
            try:
                await client.start()
                # Listed first: brokers without any group have no coordinator to ask.
                groups = await _groups(client)
                wanted = [each for each in groups if group in {None, each}]
                return await _any_reads(client, wanted, topic)
            finally:
                await client.close()

    return look


async def _groups(client: AIOKafkaAdminClient) -> list[str]:
    found = await client.list_consumer_groups()
    return sorted(name for name, kind, *_ in found if kind in {"", "consumer"})


async def _any_reads(client: AIOKafkaAdminClient, groups: Sequence[str], topic: str) -> bool | None:
    if len(groups) > _MOST_GROUPS:
        return None
    name = topic.encode()
    for response in await client.describe_consumer_groups(list(groups)) if groups else ():
        for described in response.groups:
            # A member's metadata has the topics that it subscribes to, by name.
            if any(name in (member[_METADATA] or b"") for member in described[_MEMBERS]):
                return True
    return False
