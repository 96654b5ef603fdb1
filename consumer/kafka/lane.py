"""Publishing to one partition: in order, one batch at a time, until each message has its outcome.

What arrives while a batch is under way makes up the next one, so that many small ``publish`` calls
share few requests.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, errors
from aiokafka.producer.message_accumulator import BatchBuilder

from consumer.core.ports import Message, Rejection, SourceError
from consumer.kafka.producer_slot import FIRST_BACKOFF_S, MAX_BACKOFF_S, REFUSALS, ProducerSlot

log = logging.getLogger(__name__)

_POISON = (
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.CorruptRecordException,
    errors.InvalidTimestampError,
    errors.PolicyViolationError,
    errors.UnsupportedForMessageFormatError,
)
"""Errors that are about a message in the batch, and will come again with it."""

_MOST_UNKNOWN_ERRORS = 3
"""How often a single message may meet an error unknown to aiokafka before it is given up."""


class PublishCall:
    """One call of ``publish``: counts down its messages.

    Args:
        message_count: How many messages need an outcome.
    """

    def __init__(self, message_count: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.rejections: list[Rejection] = []
        self._open_count = message_count

    def acknowledged(self) -> None:
        """One more message has its outcome."""
        self._open_count -= 1
        if self._open_count == 0 and not self.done.done():
            self.done.set_result(None)

    def rejected(self, index: int, reason: str) -> None:
        """A message will never be published as it is."""
        self.rejections.append(Rejection(index, reason))
        self.acknowledged()

    def failed(self, error: SourceError) -> None:
        """The sink cannot go on."""
        if not self.done.done():
            self.done.set_exception(error)


class Entry(NamedTuple):
    """A message on its way, the call that waits for it, and the message's position in that."""

    message: Message
    call: PublishCall
    position: int


class Lane:
    """The messages for one partition.

    Args:
        slot: Where the producer is.
        topic: The partition's topic.
        partition: Its number.
        explain: Makes a ``SourceError`` of a broker's refusal.
        fail: Called with what ends the whole sink.
    """

    def __init__(
        self,
        slot: ProducerSlot,
        topic: str,
        partition: int,
        *,
        explain: Callable[[errors.KafkaError], SourceError],
        fail: Callable[[SourceError], None],
    ) -> None:
        self._slot = slot
        self._topic = topic
        self._partition = partition
        self._explain = explain
        self._fail = fail
        self._waiting: deque[Entry] = deque()
        self._task: asyncio.Task[None] | None = None

    def append(self, entry: Entry) -> None:
        """Queue a message; ``wake`` sends it."""
        self._waiting.append(entry)

    @property
    def is_sending(self) -> bool:
        """Whether messages are under way."""
        return self._task is not None

    def wake(self) -> None:
        """Send what is queued."""
        if self._task is None and self._waiting:
            self._task = asyncio.create_task(self._run())

    def cancel(self) -> asyncio.Task[None] | None:
        """Stop sending; return the task that is ending, if one runs."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        return self._task

    async def _run(self) -> None:
        try:
            while self._waiting:
                producer = await self._slot.get()
                builder = producer.create_batch()
                await self._deliver(self._fill(builder), builder)
        except SourceError as error:
            self._fail(error)
        except Exception as error:
            # Whatever it is, the waiting calls must hear of it.
            log.exception("publishing to %s/%d failed", self._topic, self._partition)
            self._fail(SourceError(f"publishing to {self._topic} failed: {error!r}"))
        finally:
            self._task = None

    def _fill(self, builder: BatchBuilder) -> list[Entry]:
        """Take as many messages as one batch holds, at least one."""
        batch: list[Entry] = []
        while self._waiting and _append(builder, self._waiting[0].message):
            batch.append(self._waiting.popleft())
        return batch

    async def _deliver(self, batch: Sequence[Entry], builder: BatchBuilder | None = None) -> None:
        """Send a batch until each message in it is acknowledged or rejected.

        Args:
            batch: Messages that fit into one batch.
            builder: The batch, where it is built already; it can be sent only once.
        """
        backoff_s = FIRST_BACKOFF_S
        unknown_errors = 0
        while True:
            producer = await self._slot.get()
            try:
                built, builder = builder or _build(producer, batch), None
                await self._send(producer, built)
            except REFUSALS as error:
                raise self._explain(error) from error
            except errors.UnknownTopicOrPartitionError as error:
                raise self._explain(error) from error
            except (errors.KafkaError, errors.ProducerClosed) as error:
                self._slot.retire(producer)
                is_unknown = isinstance(error, errors.UnknownError)
                unknown_errors += is_unknown
                if isinstance(error, _POISON) or is_unknown:
                    if len(batch) > 1:
                        await self._deliver(batch[: len(batch) // 2])
                        await self._deliver(batch[len(batch) // 2 :])
                        return
                    if not is_unknown or unknown_errors == _MOST_UNKNOWN_ERRORS:
                        batch[0].call.rejected(batch[0].position, f"the broker refuses it: {error}")
                        return
                log.warning(
                    "publishing %d messages to %s/%d again after %s",
                    len(batch),
                    self._topic,
                    self._partition,
                    error,
                )
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
            else:
                for entry in batch:
                    entry.call.acknowledged()
                return

    async def _send(self, producer: AIOKafkaProducer, builder: BatchBuilder) -> None:
        """Send a batch once and await the broker's acknowledgement."""
        if self._partition not in await producer.partitions_for(self._topic):
            raise SourceError(
                f"publishing to {self._topic}: partition {self._partition} is gone; the topic was "
                "created again with fewer partitions"
            )
        acknowledgement = await producer.send_batch(builder, self._topic, partition=self._partition)
        await acknowledgement


def _build(producer: AIOKafkaProducer, batch: Sequence[Entry]) -> BatchBuilder:
    builder = producer.create_batch()
    for entry in batch:
        if not _append(builder, entry.message):
            raise AssertionError("a batch that fitted once fits again")
    return builder


def _append(builder: BatchBuilder, message: Message) -> bool:
    appended = builder.append(
        timestamp=None, key=message.key, value=message.value, headers=message.headers
    )
    return appended is not None
