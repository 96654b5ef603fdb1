"""Publishing outcomes and committing offsets: at-least-once, outcomes first.

``consumer.transacting`` is the other way to do it. The pipeline knows both as ``Publishing``.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine
from typing import Protocol

from consumer import outgoing
from consumer.core.engine import Engine
from consumer.core.outbox import Publication
from consumer.core.ports import (
    Clock,
    CommitRefusedError,
    RecordSource,
    ResultSink,
    TopicPartition,
)
from consumer.pipeline_settings import PipelineSettings

log = logging.getLogger(__name__)

_PUBLISHERS = 2
"""Batches on their way to the broker at once: one is acknowledged while the next is built."""
_REFUSED_COMMIT_PAUSE_S = 0.2
_QUIET_COMMIT_S = 0.5
"""Skipped records move the offset without an outcome to announce them; commit those this often."""


class Publishing(Protocol):
    """What a pipeline needs of whoever publishes its engine's outcomes and commits its offsets."""

    async def start(self) -> None:
        """Connect.

        Raises:
            SourceError: The broker cannot be reached or refuses us; says what to check.
        """
        ...

    def loops(self, on_progress: Callable[[], None]) -> list[Coroutine[None, None, None]]:
        """Return what is to run, for as long as the pipeline does; one that raises ends it.

        Args:
            on_progress: To be called when outcomes are acknowledged: the engine has room again.
        """
        ...

    def wake(self) -> None:
        """Take note that the engine has outcomes to publish."""
        ...

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        """Make sure that nobody else publishes for ``partitions``, before progress is read."""
        ...

    async def flush(self) -> None:
        """Publish what the engine lets out, and commit; return when all is acknowledged."""
        ...

    def waits(self) -> list[str]:
        """Return what publishing waits for now, a line each; see ``consumer.core.waits``."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


class AtLeastOnce:
    """Publishes outcomes, and commits the offsets of those that the broker has acknowledged.

    Args:
        engine: Whose outcomes and offsets.
        source: Where offsets are committed.
        sink: Where outcomes go.
        clock: The time.
        settings: Times and portions.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        source: RecordSource,
        sink: ResultSink,
        clock: Clock,
        settings: PipelineSettings,
    ) -> None:
        self._engine = engine
        self._source = source
        self._sink = sink
        self._clock = clock
        self._settings = settings
        self._publishing = 0
        self._publishable = asyncio.Event()
        self._published = asyncio.Condition()
        self._commit_lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect; see ``Publishing``."""
        await self._sink.start()

    def loops(self, on_progress: Callable[[], None]) -> list[Coroutine[None, None, None]]:
        """Return the publishing and the committing loops; see ``Publishing``."""
        return [*(self._publish(on_progress) for _ in range(_PUBLISHERS)), self._commit()]

    def wake(self) -> None:
        """Take note that the engine has outcomes to publish."""
        self._publishable.set()

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        """Do nothing: an earlier owner may repeat outcomes, which at-least-once allows."""

    async def flush(self) -> None:
        """Publish and commit what there is; see ``Publishing``."""
        self.wake()
        async with self._published:
            await self._published.wait_for(self._is_published)
        await self._commit_once()

    def waits(self) -> list[str]:
        """Return what the sink waits for; see ``Publishing``."""
        return self._sink.waits()

    async def stop(self) -> None:
        """Disconnect."""
        await self._sink.stop()

    def _is_published(self) -> bool:
        return not self._publishing and not self._engine.has_publications

    async def _publish(self, on_progress: Callable[[], None]) -> None:
        while True:
            await self._publishable.wait()
            taken = self._engine.take_publications(
                self._settings.publish_records, self._settings.publish_bytes
            )
            if not taken:
                self._publishable.clear()
                await self._notify()
                continue
            self._publishing += 1
            try:
                await self._publish_all(taken)
            finally:
                self._publishing -= 1
            on_progress()
            if self._engine.has_publications:  # substitutes for what was refused
                self._publishable.set()
            await self._notify()

    async def _publish_all(self, publications: list[Publication]) -> None:
        owners, messages = outgoing.flatten(publications)
        rejections = await self._sink.publish(messages)
        if not rejections:
            self._engine.acknowledged(publications)
            return
        refused = outgoing.by_publication(owners, rejections)
        self._engine.acknowledged(each for each in publications if id(each) not in refused)
        now_s = self._clock.monotonic()
        for publication in publications:
            reasons = refused.get(id(publication))
            if reasons and not self._engine.rejected(publication, reasons, now_s):
                raise outgoing.UnpublishableError(publication, reasons)

    async def _commit(self) -> None:
        while True:
            if self._settings.commit_interval_s:
                await asyncio.sleep(self._settings.commit_interval_s)
            else:
                # Committing without a pause still waits until there is something to commit.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET_COMMIT_S), self._published:
                        await self._published.wait_for(self._engine.has_commit_points)
            if not await self._commit_once():
                await asyncio.sleep(_REFUSED_COMMIT_PAUSE_S)

    async def _commit_once(self) -> bool:
        """Commit what there is; False where the group refuses it."""
        async with self._commit_lock:
            points = self._engine.commit_points()
            if not points:
                return True
            try:
                await self._source.commit(points)
            except CommitRefusedError as error:
                log.info("commit refused, the group has moved on: %s", error)
                return False
            self._engine.committed(points)
            return True

    async def _notify(self) -> None:
        async with self._published:
            self._published.notify_all()
