"""Publishing into the broker in memory together with offsets, and failures on demand."""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from enum import Enum, auto

from consumer.engine.waiting.waits import no_broker
from consumer.ports import (
    FencedError,
    Message,
    OffsetAndMetadata,
    Rejection,
    SourceError,
    TopicPartition,
)
from tests.memory.broker import MemoryBroker

RETRY_S = 0.1
"""How soon an aborted transaction is tried again."""


class TransactionFailure(Enum):
    """How a transaction may fail."""

    ABORTED = auto()
    """It was aborted, e.g. timed out: its records stay invisible and use up their offsets."""
    UNANSWERED = auto()
    """It was committed, and the response was lost."""


class MemoryTransactionalSink:
    """A ``TransactionalSink`` on a ``MemoryBroker``.

    What a transaction publishes appears at its commit, as a ``read_committed`` reader has it; each
    topic's partition that it touched loses an offset to its marker.

    Args:
        broker: Where the topics are.
        group: The consumer group whose progress is committed.
        transaction_s: How long a transaction is open. Meanwhile another sink may take over.
        topics: Its own, which must exist; the others are reply topics. All are its own by default.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        group: str,
        *,
        transaction_s: float = 0.0,
        topics: Collection[str] | None = None,
    ) -> None:
        self._own_topics = topics
        self.allowed_replies: set[str] = set()
        self._broker = broker
        self._group_name = group
        self._transaction_s = transaction_s
        self._failures: deque[TransactionFailure] = deque()
        self._held: dict[TopicPartition, int] = {}
        self._is_started = False
        self._stopped: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Connect; see ``TransactionalSink``."""
        await self._broker.reachable()
        self._stopped = asyncio.get_running_loop().create_future()
        self._is_started = True

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        """Fence the earlier owners; see ``TransactionalSink``."""
        self._check()
        self._held = {each: self._held.get(each, 0) for each in partitions}
        await self._broker.reachable()
        self._check()
        for partition in partitions:
            group = self._broker.group(self._group_name, partition.topic)
            if self._held.get(partition) != group.owner_epochs.get(partition):
                self._held[partition] = group.fence(partition)

    async def publish(
        self, partition: TopicPartition, messages: Sequence[Message], point: OffsetAndMetadata
    ) -> list[Rejection]:
        """Publish and commit, or do neither; see ``TransactionalSink``.

        Raises:
            FencedError: The partition is another's, or was let go.
            SourceError: The sink is stopped, a topic is missing, or the metadata is too long.
        """
        self._check()
        epoch = self._held.get(partition)
        if epoch is None:
            raise FencedError(f"{partition} was not taken over, or was let go")
        self._broker.check_own(messages, self._own_topics)
        rejections = self._broker.rejections(messages, self._own_topics)
        if rejections:
            return rejections
        group = self._broker.group(self._group_name, partition.topic)
        while True:
            await self._pass_time(self._transaction_s)
            await self._broker.reachable()
            self._check()
            if self._held.get(partition) != epoch or group.owner_epochs[partition] != epoch:
                raise FencedError(f"{partition} is another member's now")
            # A reply topic may be deleted, or stop, while the transaction is open.
            if rejections := self._broker.rejections(messages, self._own_topics):
                return rejections
            failure = self._failures.popleft() if self._failures else None
            if failure is TransactionFailure.ABORTED:
                self._broker.append_aborted(messages)
                await self._pass_time(RETRY_S)
                continue
            try:
                group.commit_in_transaction(partition, point)
            except ValueError as error:
                raise SourceError(str(error)) from error
            self._broker.append_committed(messages)
            if failure is TransactionFailure.UNANSWERED:
                await self._pass_time(RETRY_S)
                # Somebody may have gone on from it by now, which changes nothing about it.
            return []

    async def find_missing(self, topics: Collection[str]) -> set[str]:
        """Return the topics that do not exist; see ``TransactionalSink``."""
        self._check()
        await self._broker.reachable()
        return {topic for topic in topics if not self._broker.has_topic(topic)}

    def allow_replies(self, patterns: Collection[str]) -> None:
        """Note patterns; nothing stays open here. See ``TransactionalSink``."""
        self.allowed_replies |= {*patterns}

    def waits(self) -> list[str]:
        """Return whether the broker is away; see ``TransactionalSink``."""
        return [no_broker("publishing")] if self._broker.is_away else []

    async def stop(self) -> None:
        """Disconnect; see ``TransactionalSink``."""
        self._is_started = False
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    # What tests do to it

    def fail_next(self, *failures: TransactionFailure) -> None:
        """Have the next transactions fail, one after the other."""
        self._failures.extend(failures)

    def slow_down(self, transaction_s: float) -> None:
        """Have each later transaction stay open for this long."""
        self._transaction_s = transaction_s

    async def _pass_time(self, time_s: float) -> None:
        if self._stopped is not None and time_s > 0:
            await asyncio.wait([self._stopped], timeout=time_s)
        self._check()

    def _check(self) -> None:
        if not self._is_started:
            raise SourceError("the sink is not started, or stopped already")
