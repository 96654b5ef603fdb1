"""Fetching records without ever cancelling a fetch, and without blocking on a rebalance.

aiokafka's ``getmany`` must not be cancelled (that disables its ``max_poll_interval_ms`` check for
good), and while a rebalance goes on it waits without regard to its timeout. So a fetch that has to
wait runs in a task of its own. If a rebalance or the caller's cancellation leaves it behind, what
it still brings is not handed out but read again.

A record that aiokafka cannot read makes it forget what else the fetch has taken. So the positions
from before are kept, and gone back to; then the partition is read one by one up to that record, and
what is left of its batch as bytes.
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
from consumer.kafka.source.raw_records import (
    MisnamedBatch,
    UnreadRecord,
    is_readable_here,
    read_misnamed,
)
from consumer.kafka.source.unpacking import UnpackedTooLargeError, Unpacking
from consumer.ports import SourceError, TopicPartition

log = logging.getLogger(__name__)

Fetched = dict[KafkaPartition, list[ConsumerRecord[Any, Any]]]

NOWHERE = KafkaPartition("-", -1)
"""No partition matches it: fetching it takes nothing, and counts as a poll to aiokafka."""

_UNREADABLE = (UnicodeDecodeError, errors.CorruptRecordException, UnpackedTooLargeError)
_LOST_PLACE = (errors.OffsetOutOfRangeError, errors.NoOffsetForPartitionError)
_POSITION_WAIT_S = 0.05
"""How soon a partition is looked at again that has no position yet."""
_RAW_FETCH_TIMEOUT_S = 5.0
_RAW_FETCH_PAUSE_S = 1.0
"""How long other partitions are read before a failed raw fetch is tried again."""


class Fetching:
    """Fetches for one consumer; closed, by ``suspend``, until the first ``go_on``.

    Args:
        consumer: The consumer; started before the first fetch. It does not reset positions itself
            (``auto_offset_reset`` is none).
        unpacking: How batches are unpacked.
        bounds_timeout_s: How long to wait for an answer about where a log starts.

    Attributes:
        expired: Where logs start whose retention has deleted what was to be read next.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, unpacking: Unpacking, bounds_timeout_s: float = 2.0
    ) -> None:
        self._consumer = consumer
        self._unpacking = unpacking
        self._bounds_timeout_s = bounds_timeout_s
        self.expired: dict[TopicPartition, int] = {}
        self._failure: SourceError | None = None
        self._waiting: asyncio.Task[Fetched] | None = None
        self._started_from: dict[KafkaPartition, int] = {}
        self._sought: dict[KafkaPartition, int] = {}
        self._unreadable: dict[KafkaPartition, int] = {}
        self._misnamed: dict[KafkaPartition, MisnamedBatch] = {}
        self._raw_fetch_from_s = 0.0
        self._is_open = False
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_left_behind(self) -> bool:
        """Whether a fetch runs, or has ended, whose records nobody has seen."""
        return self._waiting is not None

    @property
    def _is_interrupted(self) -> bool:
        return not self._is_open or self.is_left_behind

    def suspend(self) -> None:
        """A rebalance has begun: hand out nothing until ``go_on``."""
        self._is_open = False
        self._unreadable.clear()
        self._misnamed.clear()
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
            SourceError: What ``fail`` was called with, or the client's own tasks have ended.
            errors.KafkaError: What aiokafka cannot get over.
        """
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
            await self._consumer.getmany(NOWHERE, timeout_ms=0)
            await asyncio.wait([self._changed], timeout=timeout_s)
            self._check()
            return {}
        wanted = [KafkaPartition(*partition) for partition in partitions]
        give_up_at_s = asyncio.get_running_loop().time() + timeout_s
        while True:
            known = self._note_start(wanted)
            has_all = len(known) == len(wanted)
            wait_s = timeout_s if has_all else min(timeout_s, _POSITION_WAIT_S)
            try:
                fetched = await self._read(known, max_records, wait_s)
            except _UNREADABLE as error:
                if not self._go_back(error):
                    raise errors.CorruptRecordException(str(error)) from error
                return {}
            except _LOST_PLACE as error:
                await self._find_place(error)
                return {}
            timeout_s = give_up_at_s - asyncio.get_running_loop().time()
            if fetched or has_all or timeout_s <= 0 or self._is_interrupted:
                return fetched

    async def close(self) -> None:
        """End a fetch that is under way; the consumer is stopped by now."""
        self._signal()
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait([self._waiting])
            if not self._waiting.cancelled():
                self._waiting.exception()

    def _note_start(self, wanted: list[KafkaPartition]) -> list[KafkaPartition]:
        """Note where a fetch starts; return the partitions where that is known, to go back there.

        It is unknown for a moment after an assignment, where the group has committed nothing.
        """
        positions = {each: internals.position(self._consumer, each) for each in wanted}
        self._started_from = {
            each: position for each, position in positions.items() if position is not None
        }
        self._sought = {}
        return list(self._started_from)

    async def _read(
        self, wanted: list[KafkaPartition], max_records: int, timeout_s: float
    ) -> Fetched:
        if self._unreadable:
            unreadable = next((each for each in wanted if each in self._unreadable), None)
            pause_s = self._raw_fetch_from_s - asyncio.get_running_loop().time()
            if unreadable is not None and pause_s <= 0:
                return await self._read_up_to(unreadable, max_records, timeout_s)
            wanted = [each for each in wanted if each not in self._unreadable]
            timeout_s = min(timeout_s, max(pause_s, 0.0)) if unreadable else timeout_s
        wanted = wanted or [NOWHERE]
        # Without a timeout it takes what is there and does not suspend.
        fetched: Fetched = await self._consumer.getmany(
            *wanted, timeout_ms=0, max_records=max_records
        )
        if fetched or timeout_s <= 0:
            return fetched
        return await self._wait_for_records(wanted, max_records, timeout_s)

    async def _read_up_to(
        self, partition: KafkaPartition, max_records: int, timeout_s: float
    ) -> Fetched:
        """Read ``partition`` by single records to where aiokafka fails; then the batch's rest."""
        end = self._unreadable[partition]
        records: list[ConsumerRecord[Any, Any]] = []
        while (is_short := self._position(partition) < end) and len(records) < max_records:
            fetched = await self._consumer.getmany(partition, timeout_ms=0, max_records=1)
            if not fetched:
                break
            records += fetched[partition]
        if records:
            return {partition: records}
        if is_short:
            return await self._wait_for_records([partition], 1, timeout_s)
        if self._position(partition) == end:
            return await self._read_unreadable(partition, end, max_records)
        del self._unreadable[partition]
        return {}

    async def _read_unreadable(
        self, partition: KafkaPartition, offset: int, max_records: int
    ) -> Fetched:
        batch = self._misnamed.pop(partition, None)
        if batch is None or not batch.covers(offset):
            batch = await self._fetch_misnamed(partition, offset)
        if batch is None:
            return {}
        left = [record for record in batch.records if record.offset >= offset]
        records = left[:max_records]
        if len(left) > max_records:
            next_offset = self._unreadable[partition] = left[max_records].offset
            self._misnamed[partition] = batch
        else:
            next_offset = batch.end_offset
            self._unreadable.pop(partition, None)
        self._consumer.seek(partition, next_offset)
        return {partition: records} if records else {}

    async def _fetch_misnamed(self, partition: KafkaPartition, offset: int) -> MisnamedBatch | None:
        """Fetch the batch at ``offset`` as bytes; ``None`` where that is for later, or over."""
        try:
            async with asyncio.timeout(_RAW_FETCH_TIMEOUT_S):
                data = await internals.fetch_raw(self._consumer, partition, offset)
        except (TimeoutError, errors.KafkaError) as error:
            if isinstance(error, errors.KafkaError) and not error.retriable:
                raise
            log.warning("%s: reading offset %d again after %r", partition, offset, error)
            self._raw_fetch_from_s = asyncio.get_running_loop().time() + _RAW_FETCH_PAUSE_S
            return None
        self._check()
        if not self._is_open or self._position(partition) != offset:
            return None
        batch = read_misnamed(data, partition, offset, self._unpacking)
        if batch is None:
            self._unreadable.pop(partition, None)
        elif isinstance(batch.records[0], UnreadRecord):
            log.warning(
                "%s: records from offset %d to %d cannot be read: %s",
                partition,
                offset,
                batch.end_offset - 1,
                batch.records[0].value,
            )
        else:
            log.warning(
                "%s: in the batch that ends before offset %d is a header whose name is not UTF-8; "
                "such bytes are written as \\x.. in it",
                partition,
                batch.end_offset,
            )
        return batch

    def _position(self, partition: KafkaPartition) -> int:
        position = internals.position(self._consumer, partition)
        return -1 if position is None else position

    def _go_back(self, error: Exception) -> bool:
        """Take back a fetch that met a record which aiokafka cannot read.

        Returns:
            False where it is not known which record that is.
        """
        failed = internals.end_failed_fetch(self._consumer, self._started_from)
        if not is_readable_here(error):
            return False
        self._unreadable.update(failed)
        for partition, started_from in self._started_from.items():
            if partition in self._consumer.assignment():
                self._consumer.seek(partition, self._sought.get(partition, started_from))
        return bool(failed)

    async def _find_place(self, error: errors.KafkaError) -> None:
        """Go on at the log's start where it has moved beyond what was to be read next.

        Raises:
            SourceError: The log ends before that.
        """
        internals.end_failed_fetch(self._consumer, ())
        if isinstance(error, errors.NoOffsetForPartitionError):
            # A fetch that a rebalance left behind has met it before the place was decided.
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
            # The next fetch says the same again, if it is still so.
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
        """Dispose of a fetch that was left behind; False while it still runs."""
        waiting = self._waiting
        if waiting is None:
            return True
        await _first_of(waiting, self._changed, timeout_s)
        if not waiting.done():
            return False
        self._waiting = None
        try:
            fetched = waiting.result()
        except _UNREADABLE as error:
            if not is_readable_here(error):
                raise
            # Where it stands, a later fetch finds out.
            self._go_back(error)
            return True
        except _LOST_PLACE as error:
            await self._find_place(error)
            return True
        for partition, records in fetched.items():
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
