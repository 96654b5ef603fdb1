"""Publishes to one partition in order, one batch at a time.

What arrives while a batch is under way forms the next one, so many small ``send`` calls share few
requests.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from aiokafka import AIOKafkaProducer, errors
from aiokafka.producer.message_accumulator import BatchBuilder

from consumer.engine.counters import Published
from consumer.kafka.sink.message_size import batch_size_bytes
from consumer.kafka.sink.producer_slot import (
    FIRST_BACKOFF_S,
    MAX_BACKOFF_S,
    REFUSALS,
    ProducerSlot,
)
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

_GATHERED_BYTES = 256 * 1024
"""What has gathered goes out, whatever the linger; less if a batch takes less."""

_LOOK_S = 5.0
"""How often a batch without an acknowledgement is checked: is any of it still wanted?"""


class PartitionWriter:
    """The messages for one partition.

    ``fail`` is called with what ends the whole sink, ``on_refused`` when the broker has refused a
    message. ``move`` is called with messages that may go to another partition, as this one takes
    nothing; it returns whether they did. A batch gathers for ``linger_s``, or less where it has
    enough before. ``published`` counts.
    """

    def __init__(
        self,
        slot: ProducerSlot,
        topic: str,
        partition: int,
        *,
        listener: PublishListener,
        explain: Callable[[errors.KafkaError], SourceError],
        fail: Callable[[SourceError], None],
        on_refused: Callable[[], None],
        move: Callable[[Sequence[Message]], bool],
        published: Published | None = None,
        linger_s: float = 0.0,
    ) -> None:
        self._published = published or Published()
        self._slot = slot
        self._topic = topic
        self._partition = partition
        self._listener = listener
        self._explain = explain
        self._fail = fail
        self._on_refused = on_refused
        self._move = move
        self._linger_s = linger_s
        self._enough_bytes = min(_GATHERED_BYTES, slot.max_batch_bytes)
        self._gathered_bytes = 0
        self._has_gathered = asyncio.Event()
        self._waiting: deque[Message] = deque()
        self._sending_records = 0
        self._is_stuck = False
        self._task: asyncio.Task[None] | None = None

    @property
    def records(self) -> int:
        return len(self._waiting) + self._sending_records

    @property
    def is_stuck(self) -> bool:
        return self._is_stuck

    def send(self, messages: Iterable[Message]) -> None:
        if self._linger_s:
            messages = tuple(messages)
            self._note_gathered(messages)
        self._waiting.extend(messages)
        if self._task is None and self._waiting:
            self._task = asyncio.create_task(self._run())

    def flush(self) -> None:
        """Send what gathers now, without waiting for more."""
        if self._waiting:
            self._has_gathered.set()

    def _note_gathered(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if self._gathered_bytes >= self._enough_bytes:
                break
            self._gathered_bytes += batch_size_bytes(message)
        if self._gathered_bytes >= self._enough_bytes:
            self._has_gathered.set()

    def cancel(self) -> asyncio.Task[None] | None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        return self._task

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._linger_s:
                    await self._linger()
                producer = await self._slot.get()
                builder = producer.create_batch()
                batch = self._fill(builder)
                if self._linger_s:
                    self._gather_anew()
                if batch:
                    self._sending_records = len(batch)
                    await self._deliver(batch, builder)
        except SourceError as error:
            self._fail(error)
        except Exception as error:
            # The listener must hear of every error.
            log.exception(
                "publishing to %s/%d failed",
                self._topic,
                self._partition,
                extra={
                    "event": "publishing_failed",
                    "topic": self._topic,
                    "partition": self._partition,
                },
            )
            self._fail(SourceError(f"publishing to {self._topic} failed: {error!r}"))
        finally:
            self._task = None

    async def _linger(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._linger_s):
                await self._has_gathered.wait()

    def _gather_anew(self) -> None:
        """Count what did not fit into the batch: it may be enough for the next one."""
        self._gathered_bytes = 0
        self._has_gathered.clear()
        self._note_gathered(self._waiting)

    def _fill(self, builder: BatchBuilder) -> list[Message]:
        batch: list[Message] = []
        waiting, listener = self._waiting, self._listener
        while waiting:
            message = waiting[0]
            if listener.is_wanted(message):
                _topic, key, value, headers, _item = message
                if not builder.append(timestamp=None, key=key, value=value, headers=headers):
                    break
                batch.append(message)
            else:
                listener.dropped(message)
            waiting.popleft()
        return batch

    async def _deliver(self, batch: Sequence[Message], builder: BatchBuilder | None = None) -> None:
        backoff_s = FIRST_BACKOFF_S
        suspicions = 0
        while True:
            producer = await self._slot.get()
            try:
                built, builder = builder or _build(producer, batch), None
                await self._send(producer, built, batch)
            except (
                *REFUSALS,
                errors.InvalidTopicError,
                errors.UnknownTopicOrPartitionError,
            ) as error:
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
                        self._sending_records -= 1
                        self._reject(batch[0], error)
                        return
                else:
                    self._is_stuck = True
                    batch = self._left_to_deliver(batch)
                    if not batch:
                        return
                self._published.publish_retries += 1
                log.warning(
                    "publishing %d messages to %s/%d again after %s",
                    len(batch),
                    self._topic,
                    self._partition,
                    error,
                    extra={
                        "event": "publishing_retried",
                        "topic": self._topic,
                        "partition": self._partition,
                        "records": len(batch),
                        "error_class": type(error).__name__,
                    },
                )
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
            else:
                self._is_stuck = False
                self._published.acknowledged(len(batch), built.size())
                self._sending_records -= len(batch)
                self._listener.acknowledged(batch)
                return

    def _left_to_deliver(self, batch: Sequence[Message]) -> list[Message]:
        """Return what is still wanted and cannot move; aiokafka has already tried for long."""
        left, waiting = self._still_wanted(batch), self._still_wanted(self._waiting)
        if self._move([message for message in (*left, *waiting) if message.key is None]):
            left = [message for message in left if message.key is not None]
            waiting = [message for message in waiting if message.key is not None]
        self._waiting = deque(waiting)
        self._sending_records -= len(batch) - len(left)
        return left

    def _still_wanted(self, messages: Iterable[Message]) -> list[Message]:
        wanted = []
        for message in messages:
            if self._listener.is_wanted(message):
                wanted.append(message)
            else:
                self._listener.dropped(message)
        return wanted

    def _reject(self, message: Message, error: errors.KafkaError) -> None:
        self._on_refused()
        if isinstance(error, errors.UnknownError):
            reason = (
                f"topic {self._topic} refuses it with an error that the client does not know: see "
                "the broker's log"
            )
        else:
            reason = explain_refusal(error.errno, message)
        is_too_large = error.errno in TOO_LARGE
        self._listener.rejected(Rejection(message, reason, is_too_large=is_too_large))

    async def _send(
        self, producer: AIOKafkaProducer, builder: BatchBuilder, batch: Sequence[Message]
    ) -> None:
        """Send a batch once; ``KafkaError`` if it is not acknowledged, or not wanted any more."""
        if self._partition not in await producer.partitions_for(self._topic):
            raise SourceError(
                f"publishing to {self._topic}: partition {self._partition} is gone; the topic was "
                "created again with fewer partitions"
            )
        acknowledgement = await producer.send_batch(builder, self._topic, partition=self._partition)
        while not (await asyncio.wait([acknowledgement], timeout=_LOOK_S))[0]:
            # A broker that comes back after long would publish what its new owner has published.
            if not any(map(self._listener.is_wanted, batch)):
                acknowledgement.cancel()
                raise errors.ProducerClosed("nobody wants the batch any more")
        acknowledgement.result()


def _patience(error: errors.KafkaError | errors.ProducerClosed) -> int | None:
    """Return how often a lone message is tried again; ``None`` if the error is not about it."""
    if isinstance(error, errors.UnknownError):
        return _UNKNOWN_ERRORS_PATIENCE
    code = getattr(error, "errno", None)
    if code == INVALID_TIMESTAMP:
        # It may have waited long for its leader; now it gets the time of its next try.
        return 1
    return 0 if code in MESSAGE_REFUSED else None


def _build(producer: AIOKafkaProducer, batch: Sequence[Message]) -> BatchBuilder:
    builder = producer.create_batch()
    for message in batch:
        _topic, key, value, headers, _item = message
        if not builder.append(timestamp=None, key=key, value=value, headers=headers):
            raise AssertionError("a batch that fitted once fits again")
    return builder
