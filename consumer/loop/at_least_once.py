"""Publishes outcomes and commits offsets: at-least-once, outcomes first."""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field

from consumer.engine.engine import Engine
from consumer.engine.work import WorkItem
from consumer.loop.publishing import Publishing, UnpublishableError, messages_of
from consumer.loop.settings import LoopSettings
from consumer.ports import (
    CommitRefusedError,
    Message,
    RecordSource,
    Rejection,
    ResultSink,
    SourceError,
    TopicPartition,
)
from handoff.clock import Clock

log = logging.getLogger(__name__)

_REFUSED_COMMIT_PAUSE_S = 0.2
_QUIET_COMMIT_S = 0.5
"""Skipped records move the offset without an outcome that announces them; commit them this
often."""


@dataclass(slots=True)
class _Ending:
    """The end of an outcome's messages so far; ``is_dropped`` if one was no longer wanted."""

    open_messages: int
    rejections: list[Rejection] = field(default_factory=list)
    is_dropped: bool = False


class AtLeastOnce(Publishing):
    """Publishes outcomes (it is the sink's listener), and commits acknowledged offsets."""

    def __init__(
        self,
        *,
        engine: Engine,
        source: RecordSource,
        sink: ResultSink,
        clock: Clock,
        settings: LoopSettings,
    ) -> None:
        super().__init__(engine, clock, settings)
        self._source = source
        self._sink = sink
        self._ended = asyncio.Event()
        self._completed = asyncio.Event()
        self._commit_lock = asyncio.Lock()
        self._open_records = 0
        # Only of outcomes with several messages, or one that was not simply acknowledged.
        self._endings: dict[WorkItem, _Ending] = {}

    async def start(self) -> None:
        await self._sink.start(self)

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        """Do nothing: an earlier owner may repeat outcomes, which at-least-once allows."""

    async def flush(self) -> None:
        self.wake()
        while self._open_records or self._engine.has_publications:
            self._ended.clear()
            self._sink.flush()
            await self._ended.wait()
        await self._commit_once()

    async def find_missing(self, topics: Collection[str]) -> set[str]:
        return await self._sink.find_missing(topics)

    def waits(self) -> list[str]:
        return self._sink.waits()

    async def stop(self) -> None:
        await self._sink.stop()

    def _loops(self) -> list[Coroutine[None, None, None]]:
        return [self._publish(), self._commit()]

    async def _publish(self) -> None:
        while True:
            await self._publishable.wait()
            self._publishable.clear()
            while items := self._engine.take_publications(
                self._settings.publish_records, self._settings.publish_bytes
            ):
                self._open_records += len(items)
                await self._send(items)
            # All of it may have been of lost partitions; and a flush flushes what came last.
            self._ended.set()

    async def _send(self, items: Sequence[WorkItem]) -> None:
        await self._sink.send(messages_of(items))

    def is_wanted(self, message: Message) -> bool:
        item: WorkItem = message.item
        return not item.assignment.revoked

    def acknowledged(self, messages: Sequence[Message]) -> None:
        complete: list[WorkItem] = []
        several: list[Message] = []
        for message in messages:
            item: WorkItem = message.item
            if len(item.messages) == 1:
                complete.append(item)
            else:
                several.append(message)
        with self._ending_with_errors():
            self._complete(complete)
            for message in several:
                self._end_message(message)
        self._note_progress()

    def rejected(self, rejection: Rejection) -> None:
        with self._ending_with_errors():
            self._end_message(rejection.message, rejection)
        self._note_progress()

    def dropped(self, message: Message) -> None:
        with self._ending_with_errors():
            self._end_message(message, is_dropped=True)
        self._note_progress()

    def failed(self, error: SourceError) -> None:
        self._end_with(error)

    def _complete(self, items: Sequence[WorkItem]) -> None:
        self._open_records -= len(items)
        self._note_published(items, self._clock.monotonic())
        self._engine.acknowledged(items)

    def _end_message(
        self, message: Message, rejection: Rejection | None = None, *, is_dropped: bool = False
    ) -> None:
        item: WorkItem = message.item
        ending = self._endings.get(item)
        if ending is None:
            ending = self._endings[item] = _Ending(len(item.messages))
        ending.open_messages -= 1
        ending.is_dropped |= is_dropped
        if rejection is not None:
            ending.rejections.append(rejection)
        if ending.open_messages:
            return
        del self._endings[item]
        if ending.is_dropped:
            self._open_records -= 1
            self._engine.withdrawn([item])
        elif ending.rejections:
            self._open_records -= 1
            self._replace(item, ending.rejections)
        else:
            self._complete([item])

    def _replace(self, item: WorkItem, rejections: Sequence[Rejection]) -> None:
        self._refusals.note(item, rejections)
        now_s, epoch_ms = self._clock.monotonic(), self._clock.epoch_ms()
        if not self._engine.rejected(item, rejections, now_s, epoch_ms):
            self._end_with(UnpublishableError(item, rejections))

    def _note_progress(self) -> None:
        if self._engine.has_publications:  # substitutes for what was refused
            self._publishable.set()
        self._ended.set()
        self._completed.set()
        self._on_progress()

    @contextlib.contextmanager
    def _ending_with_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the sink would take it for its own
            self._end_with(error)

    async def _commit(self) -> None:
        while True:
            if self._settings.commit_interval_s:
                await asyncio.sleep(self._settings.commit_interval_s)
            else:
                # Committing without a pause still waits until there is something to commit.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET_COMMIT_S):
                        while not self._engine.has_offsets_to_commit():
                            self._completed.clear()
                            await self._completed.wait()
            if not await self._commit_once():
                await asyncio.sleep(_REFUSED_COMMIT_PAUSE_S)

    async def _commit_once(self) -> bool:
        async with self._commit_lock:
            points = self._engine.offsets_and_metadata()
            if not points:
                return True
            events = self._engine.events
            started_s = self._clock.monotonic()
            try:
                await self._source.commit(points)
            except CommitRefusedError as error:
                events.refused_commits += 1
                log.info(
                    "commit refused, the group has moved on: %s",
                    error,
                    extra={"event": "commit_refused", "partitions": len(points)},
                )
                return False
            events.commits += 1
            self._engine.timings.committing.observe(self._clock.monotonic() - started_s)
            self._engine.committed(points)
            return True
