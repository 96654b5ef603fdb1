"""Publishing to one partition: in order, one batch at a time, until each message has its outcome.

What arrives while a batch is under way makes up the next one, so that many small ``send`` calls
share few requests.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, errors
from aiokafka.producer.message_accumulator import BatchBuilder

from consumer.kafka.sink.producer_slot import FIRST_BACKOFF_S, MAX_BACKOFF_S, REFUSALS, ProducerSlot
from consumer.kafka.sink.refusals import (
    INVALID_TIMESTAMP,
    MESSAGE_REFUSED,
    TOO_LARGE,
    explain_refusal,
)
from consumer.ports import Message, PublishListener, Rejection, SourceError

log = logging.getLogger(__name__)

_UNKNOWN_ERRORS_PATIENCE = 2
"""How often a single message that meets an error unknown to aiokafka is tried again."""

_LOOK_S = 5.0
"""How often a batch that nobody acknowledges is looked at: is any of it still wanted?"""


class Entry(NamedTuple):
    """A message on its way, who is told of it, and its position for them."""

    message: Message
    listener: PublishListener
    position: int

    def is_wanted(self) -> bool:
        """Say whether it may still be published; one that may not is dropped, once."""
        if self.listener.is_wanted(self.position):
            return True
        self.listener.dropped(self.position)
        return False


class Lane:
    """The messages for one partition.

    Args:
        slot: Where the producer is.
        topic: The partition's topic.
        partition: Its number.
        explain: Makes a ``SourceError`` of a broker's refusal.
        fail: Called with what ends the whole sink.
        on_refused: Called when the broker has refused a message.
        move: Called with messages that may go to another partition, as this one takes nothing;
            says whether they did.
    """

    def __init__(
        self,
        slot: ProducerSlot,
        topic: str,
        partition: int,
        *,
        explain: Callable[[errors.KafkaError], SourceError],
        fail: Callable[[SourceError], None],
        on_refused: Callable[[], None],
        move: Callable[[Sequence[Entry]], bool],
    ) -> None:
        self._slot = slot
        self._topic = topic
        self._partition = partition
        self._explain = explain
        self._fail = fail
        self._on_refused = on_refused
        self._move = move
        self._waiting: deque[Entry] = deque()
        self._sending: Sequence[Entry] = ()
        self._is_stuck = False
        self._task: asyncio.Task[None] | None = None

    @property
    def records(self) -> int:
        """How many messages have no outcome yet."""
        return len(self._waiting) + len(self._sending)

    @property
    def is_stuck(self) -> bool:
        """Whether its last batch was not taken, nor any since."""
        return self._is_stuck

    @property
    def listeners(self) -> list[PublishListener]:
        """Who waits for these; some may be named several times."""
        return [entry.listener for entry in (*self._sending, *self._waiting)]

    def append(self, entry: Entry) -> None:
        """Queue a message; ``wake`` sends it."""
        self._waiting.append(entry)

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
                batch = self._fill(builder)
                if batch:
                    self._sending = batch
                    await self._deliver(batch, builder)
                    self._sending = ()
        except SourceError as error:
            self._fail(error)
        except Exception as error:
            # Whatever it is, the listeners must hear of it.
            log.exception("publishing to %s/%d failed", self._topic, self._partition)
            self._fail(SourceError(f"publishing to {self._topic} failed: {error!r}"))
        finally:
            self._task = None

    def _fill(self, builder: BatchBuilder) -> list[Entry]:
        """Take as many messages as one batch holds, at least one if any is wanted."""
        batch: list[Entry] = []
        while self._waiting:
            entry = self._waiting[0]
            if entry.listener.is_wanted(entry.position):
                if not _append(builder, entry.message):
                    break
                batch.append(entry)
            else:
                entry.listener.dropped(entry.position)
            self._waiting.popleft()
        return batch

    async def _deliver(self, batch: Sequence[Entry], builder: BatchBuilder | None = None) -> None:
        """Send a batch until each message in it is acknowledged, rejected or not wanted any more.

        Args:
            batch: Messages that fit into one batch.
            builder: The batch, where it is built already; it can be sent only once.
        """
        backoff_s = FIRST_BACKOFF_S
        suspicions = 0
        while True:
            producer = await self._slot.get()
            try:
                built, builder = builder or _build(producer, batch), None
                await self._send(producer, built, batch)
            except (*REFUSALS, errors.InvalidTopicError) as error:
                raise self._explain(error) from error
            except errors.UnknownTopicOrPartitionError as error:
                raise self._explain(error) from error
            except (errors.KafkaError, errors.ProducerClosed) as error:
                self._slot.retire(producer)
                if (patience := _patience(error)) is not None:
                    if len(batch) > 1:
                        await self._deliver(batch[: len(batch) // 2])
                        await self._deliver(batch[len(batch) // 2 :])
                        return
                    suspicions += 1
                    if suspicions > patience:
                        self._reject(batch[0], error)
                        return
                else:
                    self._is_stuck = True
                    batch = self._left_to_deliver(batch)
                    if not batch:
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
                self._is_stuck = False
                for entry in batch:
                    entry.listener.acknowledged(entry.position)
                return

    def _left_to_deliver(self, batch: Sequence[Entry]) -> list[Entry]:
        """Return what of a batch is still wanted and can go nowhere else; move what can.

        aiokafka has tried for long by now.
        """
        # Of a batch that was refused this may be a half; the other one stays on its way.
        others = {id(entry) for entry in self._sending} - {id(entry) for entry in batch}
        batch = [entry for entry in batch if entry.is_wanted()]
        waiting = [entry for entry in self._waiting if entry.is_wanted()]
        movable = [entry for entry in (*batch, *waiting) if entry.message.key is None]
        if self._move(movable):
            batch = [entry for entry in batch if entry.message.key is not None]
            waiting = [entry for entry in waiting if entry.message.key is not None]
        self._waiting = deque(waiting)
        others |= {id(entry) for entry in batch}
        self._sending = [entry for entry in self._sending if id(entry) in others]
        return batch

    def _reject(self, entry: Entry, error: errors.KafkaError) -> None:
        self._on_refused()
        if isinstance(error, errors.UnknownError):
            reason = (
                f"topic {self._topic} refuses it with an error that the client does not know: see "
                "the broker's log"
            )
        else:
            reason = explain_refusal(error.errno, entry.message)
        is_too_large = error.errno in TOO_LARGE
        entry.listener.rejected(Rejection(entry.position, reason, is_too_large=is_too_large))

    async def _send(
        self, producer: AIOKafkaProducer, builder: BatchBuilder, batch: Sequence[Entry]
    ) -> None:
        """Send a batch once and await the broker's acknowledgement.

        Raises:
            errors.KafkaError: There was none, or nobody wants any of it any more.
        """
        if self._partition not in await producer.partitions_for(self._topic):
            raise SourceError(
                f"publishing to {self._topic}: partition {self._partition} is gone; the topic was "
                "created again with fewer partitions"
            )
        acknowledgement = await producer.send_batch(builder, self._topic, partition=self._partition)
        while not (await asyncio.wait([acknowledgement], timeout=_LOOK_S))[0]:
            # A broker that comes back after long would publish what its new owner has published.
            if not any(entry.listener.is_wanted(entry.position) for entry in batch):
                acknowledgement.cancel()
                raise errors.ProducerClosed("nobody wants the batch any more")
        acknowledgement.result()


def _patience(error: errors.KafkaError | errors.ProducerClosed) -> int | None:
    """Return how often a lone message is tried again; ``None`` where the error is not about it."""
    if isinstance(error, errors.UnknownError):
        return _UNKNOWN_ERRORS_PATIENCE
    code = getattr(error, "errno", None)
    if code == INVALID_TIMESTAMP:
        # It may have waited long for its leader; now it gets the time of its next try.
        return 1
    return 0 if code in MESSAGE_REFUSED else None


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
