"""Fetching records without ever cancelling a fetch, and without blocking on a rebalance.

aiokafka's ``getmany`` must not be cancelled (that disables its ``max_poll_interval_ms`` check for
good), and while a rebalance goes on it waits without regard to its timeout. So a fetch that has to
wait runs in a task of its own. If a rebalance or the caller's cancellation leaves it behind, what
it still brings is not handed out but read again.
"""

import asyncio
from collections.abc import Collection
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.core.ports import SourceError, TopicPartition

Fetched = dict[KafkaPartition, list[ConsumerRecord[Any, Any]]]

NOWHERE = KafkaPartition("-", -1)
"""No partition matches it: fetching it takes nothing, and counts as a poll to aiokafka."""


class Fetching:
    """Fetches for one consumer; closed, by ``suspend``, until the first ``go_on``.

    Args:
        consumer: The consumer; started before the first fetch.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._failure: SourceError | None = None
        self._waiting: asyncio.Task[Fetched] | None = None
        self._sought: dict[KafkaPartition, int] = {}
        self._is_open = False
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_left_behind(self) -> bool:
        """Whether a fetch runs, or has ended, whose records nobody has seen."""
        return self._waiting is not None

    def suspend(self) -> None:
        """A rebalance has begun: hand out nothing until ``go_on``."""
        self._is_open = False
        self._signal()

    def go_on(self) -> None:
        """The new assignment is in place."""
        self._is_open = True
        self._signal()

    def fail(self, error: SourceError) -> None:
        """Make this and every later fetch raise ``error``."""
        self._failure = error
        self._signal()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read ``partition`` from ``offset`` on; ignored where it is not assigned any more."""
        key = KafkaPartition(*partition)
        if key in self._consumer.assignment():
            self._consumer.seek(key, offset)
            self._sought[key] = offset

    async def fetch(
        self, partitions: Collection[TopicPartition], max_records: int, timeout_s: float
    ) -> Fetched:
        """Return records, or none after ``timeout_s`` or as soon as a rebalance begins or ends.

        What may be read is for the caller to say again then.

        Raises:
            SourceError: What ``fail`` was called with.
            errors.KafkaError: What aiokafka cannot get over.
        """
        self._check()
        if not self._is_open or not await self._is_clear(timeout_s):
            # Wakes up when the rebalance is over, or the source has failed.
            await asyncio.wait([self._changed], timeout=timeout_s)
            self._check()
            return {}
        if not partitions:
            await self._consumer.getmany(NOWHERE, timeout_ms=0)
            await asyncio.wait([self._changed], timeout=timeout_s)
            self._check()
            return {}
        wanted = [KafkaPartition(*partition) for partition in partitions]
        # Without a timeout it takes what is there and does not suspend.
        fetched: Fetched = await self._consumer.getmany(
            *wanted, timeout_ms=0, max_records=max_records
        )
        if fetched or timeout_s <= 0:
            return fetched
        return await self._wait_for_records(wanted, max_records, timeout_s)

    async def close(self) -> None:
        """End a fetch that is under way; the consumer is stopped by now."""
        self._signal()
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait([self._waiting])
            if not self._waiting.cancelled():
                self._waiting.exception()

    async def _wait_for_records(
        self, wanted: list[KafkaPartition], max_records: int, timeout_s: float
    ) -> Fetched:
        self._sought = {}
        waiting: asyncio.Task[Fetched] = asyncio.create_task(
            self._consumer.getmany(*wanted, timeout_ms=timeout_s * 1000, max_records=max_records)
        )
        self._waiting = waiting
        await _first_of(waiting, self._changed)
        self._check()
        if not waiting.done() or not self._is_open:
            return {}
        self._waiting = None
        return waiting.result()

    async def _is_clear(self, timeout_s: float) -> bool:
        """Dispose of a fetch that was left behind; False while it still runs."""
        waiting = self._waiting
        if waiting is None:
            return True
        await _first_of(waiting, self._changed, timeout_s)
        if not waiting.done():
            return False
        self._waiting = None
        for partition, records in waiting.result().items():
            # Nobody saw these. Seeking also undoes what was taken after the listener's own seek.
            if partition in self._consumer.assignment():
                self._consumer.seek(partition, self._sought.get(partition, records[0].offset))
        return True

    def _signal(self) -> None:
        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
        if not changed.done():
            changed.set_result(None)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


async def _first_of(
    fetch: asyncio.Future[Fetched], changed: asyncio.Future[None], timeout_s: float | None = None
) -> None:
    futures: list[asyncio.Future[Any]] = [fetch, changed]
    await asyncio.wait(futures, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
