"""Offset commits of one member, under the generation of its assignment only."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping

from aiokafka import AIOKafkaConsumer, errors

from consumer.kafka.client import internals
from consumer.kafka.group.assignment import NEVER_ASSIGNED
from consumer.ports import CommitRefusedError, OffsetAndMetadata, SourceError, TopicPartition

log = logging.getLogger(__name__)

_COMMIT_RETRY_S = 0.1


class Commits:
    """Commits between ``open`` and ``close``; ``on_refused`` returns what to raise."""

    def __init__(
        self, consumer: AIOKafkaConsumer, on_refused: Callable[[errors.KafkaError], SourceError]
    ) -> None:
        self._consumer = consumer
        self._on_refused = on_refused
        self._has_failed = False
        self._generation = NEVER_ASSIGNED
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._under_way: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self.is_open = False

    @property
    def under_way(self) -> list[asyncio.Task[None]]:
        return list(self._under_way)

    def begin(self, generation: int, assigned: Collection[TopicPartition]) -> None:
        """Note a new assignment; before ``open`` only ``commit_at_once`` commits."""
        self._generation = generation
        self._assigned = frozenset(assigned)

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        """Refuse commits, and do not retry those under way."""
        self.is_open = False

    def fail(self) -> None:
        """Refuse commits for good, and do not retry those under way."""
        self._has_failed = True

    async def commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit, also if the caller is cancelled; ``CommitRefusedError`` after a rebalance."""
        task = asyncio.create_task(self._commit(dict(points)))
        self._under_way.add(task)
        task.add_done_callback(self._forget)
        await asyncio.shield(task)

    async def commit_at_once(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit any partitions, before the assignment has been taken over; see ``commit``."""
        while True:
            if await self._sent(points):
                return
            await asyncio.sleep(_COMMIT_RETRY_S)

    async def _commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        async with self._lock:
            while True:
                if not self.is_open:
                    raise CommitRefusedError("the group is rebalancing")
                strangers = points.keys() - self._assigned
                if strangers:
                    raise CommitRefusedError(f"not assigned any more: {sorted(strangers)}")
                if await self._sent(points):
                    return
                await asyncio.sleep(_COMMIT_RETRY_S)

    async def _sent(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
        if self._has_failed:
            raise CommitRefusedError("this consumer has failed")
        try:
            await internals.commit_once(self._consumer, points, self._generation)
        except errors.KafkaError as error:
            # A retry might commit to another log, once the topic is created again.
            is_gone = isinstance(error, errors.UnknownTopicOrPartitionError)
            if is_gone or not error.retriable:
                raise self._on_refused(error) from error
            log.warning(
                "committing again after %s",
                error,
                extra={"event": "commit_retried", "error_class": type(error).__name__},
            )
            return False
        return True

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Its caller may be gone; asyncio warns of exceptions that are never retrieved.
            task.exception()
