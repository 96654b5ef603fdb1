"""Where logs start and end, asked for within a time: while nobody leads a partition, nobody says.

aiokafka asks for all partitions at once and again for 40 s. In a rebalance callback, where no
heartbeats are sent, that costs the membership, and one partition without a leader would take every
member in turn down.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

from aiokafka import errors
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.ports import TopicPartition

log = logging.getLogger(__name__)

Ask = Callable[[list[KafkaPartition]], Awaitable[Mapping[KafkaPartition, int]]]


async def ask_each(
    ask: Ask, partitions: Collection[TopicPartition], timeout_s: float
) -> dict[TopicPartition, int]:
    """Ask about each partition apart.

    Args:
        ask: An aiokafka consumer's ``beginning_offsets`` or ``end_offsets``.
        partitions: Which to ask about.
        timeout_s: How long to wait for answers.

    Returns:
        The offsets that were told; a partition without an answer is left out, and logged.
    """
    if not partitions:
        return {}
    tasks = {
        partition: asyncio.ensure_future(ask([KafkaPartition(*partition)]))
        for partition in partitions
    }
    try:
        await asyncio.wait(tasks.values(), timeout=timeout_s)
    finally:
        unanswered = [task for task in tasks.values() if not task.done()]
        for task in unanswered:
            task.cancel()
        if unanswered:
            await asyncio.wait(unanswered)
    found: dict[TopicPartition, int] = {}
    for partition, task in tasks.items():
        try:
            found[partition] = task.result()[KafkaPartition(*partition)]
        except asyncio.CancelledError:
            log.warning("%s: no answer about its log within %.1f s", partition, timeout_s)
        except errors.KafkaError as error:
            log.warning("%s: no answer about its log: %s", partition, error)
    return found
