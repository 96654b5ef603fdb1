"""Publishing outcomes and committing offsets: at-least-once, outcomes first.

``consumer.loop.exactly_once`` is the other way to do it. The pipeline knows both as ``Publishing``.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Protocol

from consumer.engine.engine import Engine
from consumer.engine.outcomes.outbox import Publication
from consumer.loop import outgoing
from consumer.loop.settings import LoopSettings
from consumer.ports import (
    CommitRefusedError,
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
        """Return what publishing waits for now; see ``consumer.engine.standing.waits``."""
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
        settings: LoopSettings,
    ) -> None:
        self._engine = engine
        self._source = source
        self._sink = sink
        self._clock = clock
        self._settings = settings
        self._refusals = outgoing.RefusalLog()
        self._on_progress: Callable[[], None] = _do_nothing
        self._publishable = asyncio.Event()
        self._ended = asyncio.Event()
        self._completed = asyncio.Event()
        self._commit_lock = asyncio.Lock()
        self._sendings: set[Sending] = set()
        self._failed: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Connect; see ``Publishing``."""
        await self._sink.start()

    def loops(self, on_progress: Callable[[], None]) -> list[Coroutine[None, None, None]]:
        """Return the publishing and the committing loops; see ``Publishing``."""
        self._on_progress = on_progress
        self._failed = asyncio.get_running_loop().create_future()
        return [self._publish(), self._commit(), self._fail(self._failed)]

    def wake(self) -> None:
        """Take note that the engine has outcomes to publish."""
        self._publishable.set()

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        """Do nothing: an earlier owner may repeat outcomes, which at-least-once allows."""

    async def flush(self) -> None:
        """Publish and commit what there is; see ``Publishing``."""
        self.wake()
        while self._sendings or self._engine.has_publications:
            self._ended.clear()
            await self._ended.wait()
        await self._commit_once()

    def waits(self) -> list[str]:
        """Return what the sink waits for; see ``Publishing``."""
        return self._sink.waits()

    async def stop(self) -> None:
        """Disconnect."""
        await self._sink.stop()

    async def _publish(self) -> None:
        while True:
            await self._publishable.wait()
            self._publishable.clear()
            while taken := self._engine.take_publications(
                self._settings.publish_records, self._settings.publish_bytes
            ):
                await self._send(taken)
            # What was taken may have been of lost partitions alone.
            self._ended.set()

    async def _send(self, publications: list[Publication]) -> None:
        owners, messages = outgoing.flatten(publications)
        sending = Sending(owners, self)
        self._sendings.add(sending)
        await self._sink.send(messages, sending)

    def complete(self, sending: "Sending") -> None:
        """Take in what has become of outcomes' messages."""
        acknowledged, refused, dropped = sending.take_ended()
        self._engine.acknowledged(acknowledged)
        self._engine.withdrawn(dropped)
        for publication, rejections in refused:
            self._refusals.note(publication, rejections)
            now_s, epoch_ms = self._clock.monotonic(), self._clock.epoch_ms()
            if not self._engine.rejected(publication, rejections, now_s, epoch_ms):
                self.end_with(outgoing.UnpublishableError(publication, rejections))
        if not sending.is_open:
            self._sendings.discard(sending)
        if self._engine.has_publications:  # substitutes for what was refused
            self._publishable.set()
        self._ended.set()
        self._completed.set()
        self._on_progress()

    def end_with(self, error: BaseException) -> None:
        """Take note that publishing cannot go on."""
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _fail(self, failed: asyncio.Future[None]) -> None:
        await failed

    async def _commit(self) -> None:
        while True:
            if self._settings.commit_interval_s:
                await asyncio.sleep(self._settings.commit_interval_s)
            else:
                # Committing without a pause still waits until there is something to commit.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET_COMMIT_S):
                        while not self._engine.has_commit_points():
                            self._completed.clear()
                            await self._completed.wait()
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


class Sending:
    """Outcomes on their way: gathers what became of their messages, for ``complete`` to take in.

    Args:
        owners: Whose each message is.
        publishing: What takes it in.
    """

    def __init__(self, owners: list[outgoing.Owner], publishing: AtLeastOnce) -> None:
        self._publishing = publishing
        # One message may be stuck for long, and must not hold the others' payloads.
        self._owners = dict(enumerate(owners))
        self._open_messages = Counter(id(publication) for publication, _ in owners)
        self._rejections: dict[int, dict[int, Rejection]] = {}
        self._dropped: set[int] = set()
        self._ended: list[Publication] = []
        self._soon: asyncio.Handle | None = None

    @property
    def is_open(self) -> bool:
        """Whether any of it has no outcome yet."""
        return bool(self._open_messages)

    def is_wanted(self, index: int) -> bool:
        """Say whether a message is still this member's to publish; see ``PublishListener``."""
        return not self._owners[index][0].item.assignment.revoked

    def acknowledged(self, index: int) -> None:
        """The broker has acknowledged a message."""
        self._end(self._owners.pop(index)[0])

    def rejected(self, rejection: Rejection) -> None:
        """A message can never be published as it is."""
        publication, position = self._owners.pop(rejection.index)
        self._rejections.setdefault(id(publication), {})[position] = rejection
        self._end(publication)

    def dropped(self, index: int) -> None:
        """A message was not wanted any more."""
        publication = self._owners.pop(index)[0]
        self._dropped.add(id(publication))
        self._end(publication)

    def failed(self, error: SourceError) -> None:
        """The sink cannot go on."""
        self._publishing.end_with(error)

    def take_ended(
        self,
    ) -> tuple[
        list[Publication], list[tuple[Publication, dict[int, Rejection]]], list[Publication]
    ]:
        """Take the outcomes that have ended: acknowledged, refused in part, not wanted any more."""
        ended, self._ended, self._soon = self._ended, [], None
        if not self._rejections and not self._dropped:
            return ended, [], []
        dropped = [each for each in ended if id(each) in self._dropped]
        refused = [
            (each, self._rejections.pop(id(each)))
            for each in ended
            if id(each) in self._rejections and id(each) not in self._dropped
        ]
        others = {id(each) for each, _ in refused} | self._dropped
        return [each for each in ended if id(each) not in others], refused, dropped

    def _end(self, publication: Publication) -> None:
        key = id(publication)
        self._open_messages[key] -= 1
        if self._open_messages[key]:
            return
        del self._open_messages[key]
        self._ended.append(publication)
        if self._soon is None:
            # Once for all that end together.
            self._soon = asyncio.get_running_loop().call_soon(self._complete)

    def _complete(self) -> None:
        try:
            self._publishing.complete(self)
        except Exception as error:  # noqa: BLE001 - the event loop would only log it
            self._publishing.end_with(error)


def _do_nothing() -> None:
    pass
