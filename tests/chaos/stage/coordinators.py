"""The node that coordinates a group or a transactional id, and the node that leads a partition."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import IntEnum

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

_ATTEMPTS = 40
_PAUSE_S = 0.3


class Role(IntEnum):
    """What is coordinated, in Kafka's numbers."""

    GROUP = 0
    TRANSACTION = 1


async def find_coordinator(bootstrap: str, key: str, role: Role) -> int:
    """Return the number of the coordinating node."""

    async def ask(admin: AIOKafkaAdminClient) -> int:
        return int(await admin.find_coordinator(key, role.value))

    return await _ask(bootstrap, ask)


async def leader_of(bootstrap: str, topic: str, partition: int) -> int:
    """Return the number of the node that leads a partition."""

    async def ask(admin: AIOKafkaAdminClient) -> int:
        (described,) = await admin.describe_topics([topic])
        leaders = {each["partition"]: each["leader"] for each in described["partitions"]}
        return int(leaders[partition])

    return await _ask(bootstrap, ask)


async def _ask(bootstrap: str, ask: Callable[[AIOKafkaAdminClient], Awaitable[int]]) -> int:
    """Ask until there is a node: elections take a moment.

    Raises:
        RuntimeError: There was none for too long.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for _ in range(_ATTEMPTS):
            try:
                node = await ask(admin)
            except KafkaError:
                node = -1
            if node >= 0:
                return node
            await asyncio.sleep(_PAUSE_S)
    finally:
        await admin.close()
    raise RuntimeError("no node answers for it")
