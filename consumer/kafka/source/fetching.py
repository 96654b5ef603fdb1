"""Fetches records without cancelling a fetch, and without blocking on a rebalance.

aiokafka's ``getmany`` must not be cancelled, which disables its ``max_poll_interval_ms`` check for
good, and ignores its timeout during a rebalance. So a fetch that has to wait runs in a task of its
own. A rebalance or the caller's cancellation leaves it behind; the records that it still brings are
read again.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import Any

from aiokafka import AIOKafkaConsumer, errors
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.client import internals
from consumer.kafka.client.mending import check_tasks
from consumer.kafka.source.logs import ask_each, warn_of_expired
from consumer.ports import SourceError, TopicPartition

log = logging.getLogger(__name__)

Fetched = dict[KafkaPartition, list[ConsumerRecord[Any, Any]]]

_NO_PARTITION = KafkaPartition("-", -1)
"""Matches no partition: fetching it returns nothing, and counts as a poll to aiokafka."""

_LOST_PLACE = (errors.OffsetOutOfRangeError, errors.NoOffsetForPartitionError)
_POSITION_WAIT_S = 0.05
"""How soon a fetch asks again for partitions that have no position yet."""


class Fetching:
    """Fetches for one consumer; closed, by ``suspend``, until the first ``go_on``.

    The consumer is started before the first fetch, and does not reset positions itself
    (``auto_offset_reset`` is none). The start of a log may take ``bounds_timeout_s``. ``expired``
    holds the starts of logs whose next record retention has deleted.
    """

    def __init__(self, consumer: AIOKafkaConsumer, bounds_timeout_s: float = 2.0) -> None:
        self._consumer = consumer
        self._bounds_timeout_s = bounds_timeout_s
        self.expired: dict[TopicPartition, int] = {}
        self._failure: SourceError | None = None
        self._waiting: asyncio.Task[Fetched] | None = None
        self._sought: dict[KafkaPartition, int] = {}
        self._is_open = False
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_left_behind(self) -> bool:
        """Whether there is a fetch, running or ended, whose records were not returned."""
        return self._waiting is not None

    @property
    def _is_interrupted(self) -> bool:
        return not self._is_open or self.is_left_behind

    def suspend(self) -> None:
        """A rebalance has begun: return no records until ``go_on``."""
        self._is_open = False
        self._signal()

    def go_on(self) -> None:
        self._is_open = True
        self._signal()

    def fail(self, error: SourceError) -> None:
        self._failure = error
        self._signal()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        key = KafkaPartition(*partition)
        if key in self._consumer.assignment():
            self._consumer.seek(key, offset)
            self._sought[key] = offset

    async def fetch(
        self, partitions: Collection[TopicPartition], max_records: int, timeout_s: float
    ) -> Fetched:
        """Return records, or none after ``timeout_s`` or as soon as a rebalance begins or ends."""
        self._check()
        check_tasks(self._consumer)
        is_clear = self._is_open and await self._is_clear(timeout_s)
        # Clearing may take long enough for a rebalance to begin.
        if not is_clear or not self._is_open:
            internals.note_poll(self._consumer)
            # Wakes up when the rebalance is over, or the source has failed.
            await asyncio.wait([self._changed], timeout=timeout_s)
            self._check()
            internals.note_poll(self._consumer)
            return {}
        if not partitions:
            await self._consumer.getmany(_NO_PARTITION, timeout_ms=0)
            await asyncio.wait([self._changed], timeout=timeout_s)
            self._check()
            return {}
        wanted = [KafkaPartition(*partition) for partition in partitions]
        give_up_at_s = asyncio.get_running_loop().time() + timeout_s
        while True:
            # Unknown for a moment after an assignment, if the group has committed nothing.
            known = [each for each in wanted if self._position(each) is not None]
            self._sought = {}
            has_all = len(known) == len(wanted)
            wait_s = timeout_s if has_all else min(timeout_s, _POSITION_WAIT_S)
            try:
                fetched = await self._read(known, max_records, wait_s)
            except _LOST_PLACE as error:
                await self._find_place(error)
                return {}
            timeout_s = give_up_at_s - asyncio.get_running_loop().time()
            if fetched or has_all or timeout_s <= 0 or self._is_interrupted:
                return fetched

    async def close(self) -> None:
        self._signal()
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait([self._waiting])
            if not self._waiting.cancelled():
                self._waiting.exception()

    async def _read(
        self, wanted: list[KafkaPartition], max_records: int, timeout_s: float
    ) -> Fetched:
        wanted = wanted or [_NO_PARTITION]
        # Without a timeout it takes what is there and does not suspend.
        fetched: Fetched = await self._consumer.getmany(
            *wanted, timeout_ms=0, max_records=max_records
        )
        if fetched or timeout_s <= 0:
            return fetched
        return await self._wait_for_records(wanted, max_records, timeout_s)

    def _position(self, partition: KafkaPartition) -> int | None:
        return internals.position(self._consumer, partition)

    async def _find_place(self, error: errors.KafkaError) -> None:
        """Go on at the log's start if it moved; ``SourceError`` if the log's end is below."""
        internals.end_failed_fetch(self._consumer)
        if isinstance(error, errors.NoOffsetForPartitionError):
            # Of a fetch that a rebalance left behind: the position was not decided yet.
            internals.begin_at_log_start(self._consumer, [error.args[0]])
            return
        ((key, offset),) = error.args[0].items()
        partition = TopicPartition(*key)
        starts = await ask_each(
            self._consumer.beginning_offsets, [partition], self._bounds_timeout_s
        )
        self._check()
        log_start = starts.get(partition)
        if log_start is None or self._position(key) != offset:
            # The next fetch raises again if that is still so.
            return
        if log_start <= offset:
            raise SourceError(
                f"{partition.topic}/{partition.partition}: offset {offset} is to be read next and "
                "lies beyond the log's end: the topic was created again or lost records; the "
                "consumer starts afresh from what is committed"
            )
        warn_of_expired(partition, offset, log_start)
        self.expired[partition] = log_start
        self._consumer.seek(key, log_start)

    async def _wait_for_records(
        self, wanted: list[KafkaPartition], max_records: int, timeout_s: float
    ) -> Fetched:
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
        """Drop a fetch that was left behind; return False while it still runs."""
        waiting = self._waiting
        if waiting is None:
            return True
        await _first_of(waiting, self._changed, timeout_s)
        if not waiting.done():
            return False
        self._waiting = None
        try:
            fetched = waiting.result()
        except _LOST_PLACE as error:
            await self._find_place(error)
            return True
        for partition, records in fetched.items():
            # They were not returned. Records from before the listener's own seek are dropped too.
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
