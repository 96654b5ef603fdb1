"""Takes one overview a second for all listeners, and tells each what is new.

Nobody waits for a slow listener: what it missed it gets as one whole document.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace

from handoff.clock import Clock
from headrace.console.live.documents import document_of
from headrace.console.live.events import BEAT, FIRST, event
from headrace.console.live.history import EVERY_S, History, Point
from headrace.console.live.patches import Document, merge_patch
from headrace.errors import ServiceError
from headrace.overview.snapshot import Overview

log = logging.getLogger(__name__)

TAKE_EVERY_S = 1.0
"""While somebody listens; else every ``EVERY_S``, for the history."""
ANSWER_WITHIN_S = 10.0
MOST_LISTENERS = 64
LASTS_S = 600.0
"""Then a listener has to come again, and is asked again who it is."""
_BEAT_EVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class _News:
    """What the latest overview brought; ``number`` counts overviews, ``events`` say what is new."""

    number: int
    document: Document
    events: bytes


class Feed:
    """The latest overview, and its listeners; ``run`` must run.

    ``take`` returns the overview of this moment, or raises ``ServiceError``.
    """

    def __init__(self, take: Callable[[], Awaitable[Overview]], clock: Clock) -> None:
        self._take_overview = take
        self._clock = clock
        self._history = History()
        self._overview: Overview | None = None
        self._taken_at_s = float("-inf")
        self._news = _News(0, {}, b"")
        self._is_new = asyncio.Condition()
        self._taking = asyncio.Lock()
        self._came = asyncio.Event()
        self.listeners = 0
        self.problem: str | None = "no overview has been taken yet"

    async def run(self) -> None:
        """Take overviews until cancelled."""
        while True:
            started_s = self._clock.monotonic()
            await self.refresh()
            # A listener that comes meanwhile does not wait for the slower turn.
            every_s = TAKE_EVERY_S if self.listeners else EVERY_S
            pause_s = max(0.1, started_s + every_s - self._clock.monotonic())
            self._came.clear()
            try:
                async with asyncio.timeout(pause_s):
                    await self._came.wait()
            except TimeoutError:
                continue

    async def overview(self) -> Overview:
        """Return an overview no older than a second; raises ``ServiceError`` without one."""
        await self.refresh(TAKE_EVERY_S)
        if self._overview is None or self.problem is not None:
            raise ServiceError(self.problem or "no overview has been taken yet")
        return self._overview

    def history(self) -> list[Point]:
        return self._history.points()

    @property
    def is_full(self) -> bool:
        return self.listeners >= MOST_LISTENERS

    async def listen(
        self, may_listen: Callable[[], bool] = lambda: True
    ) -> AsyncGenerator[bytes, None]:
        """Yield events, the whole document first, for ``LASTS_S``; look at ``is_full`` before.

        It ends where ``may_listen``, which is asked before each event, says no.
        """
        self.listeners += 1
        ends_at_s = self._clock.monotonic() + LASTS_S
        try:
            if self.listeners == 1:
                self._came.set()
            yield FIRST
            await self.refresh(TAKE_EVERY_S)
            news = self._news
            yield event("history", self._history.points())
            yield event("overview", news.document)
            while self._clock.monotonic() < ends_at_s:
                seen = news.number
                news = await self._newer_than(seen)
                if not may_listen():
                    return
                if news.number == seen:
                    yield BEAT
                elif news.number == seen + 1:
                    yield news.events
                else:
                    yield event("history", self._history.points())
                    yield event("overview", news.document)
        finally:
            self.listeners -= 1

    async def _newer_than(self, number: int) -> _News:
        """Wait for news, or for so long that something has to be sent."""
        try:
            async with asyncio.timeout(_BEAT_EVERY_S), self._is_new:
                await self._is_new.wait_for(lambda: self._news.number > number)
        except TimeoutError:
            pass
        return self._news

    async def refresh(self, age_s: float = 0.0) -> None:
        """Take an overview, and tell the listeners, unless the latest is younger than that.

        Raises nothing: what goes wrong is the problem, and listeners hear of it.
        """
        async with self._taking:
            if self._clock.monotonic() - self._taken_at_s < age_s:
                return
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    overview = await self._take_overview()
                news = self._of(overview)
            except (ServiceError, TimeoutError) as error:
                news = self._without(str(error) or "the status board does not answer")
            except Exception as error:  # noqa: BLE001 - as said below
                # Parts of an overview are what others say: it must cost neither the next one nor
                # the replica, which Serve would replace again and again.
                news = self._without(f"the overview cannot be read: {type(error).__name__}", error)
            else:
                self._overview, self.problem = overview, None
            self._taken_at_s = self._clock.monotonic()
            async with self._is_new:
                self._news = news
                self._is_new.notify_all()

    def _of(self, overview: Overview) -> _News:
        """Return what an overview brings; nothing of it counts if it cannot be sent."""
        news = self._changed_to(document_of(overview))
        point = self._history.add(overview, self._clock.monotonic())
        if point is None:
            return news
        return replace(news, events=news.events + event("point", point))

    def _without(self, problem: str, error: Exception | None = None) -> _News:
        """Return the news that there is no overview; the one before stays."""
        if self.problem != problem:
            log.warning(
                "no overview: %s", problem, exc_info=error, extra={"event": "overview_missing"}
            )
        self.problem = problem
        return self._changed_to({**self._news.document, "problem": problem})

    def _changed_to(self, document: Document) -> _News:
        patch = merge_patch(self._news.document, document)
        sent = event("patch", patch) if patch else BEAT
        return _News(self._news.number + 1, document, sent)
