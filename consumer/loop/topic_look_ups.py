"""Looks reply topics up beside everything else."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from consumer.engine.engine import Engine
from consumer.loop.publishing import Publishing
from consumer.ports import SourceError
from handoff.clock import Clock

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
"""Records that wait for a look-up go on then, and publishing finds out."""


class TopicLookUps:
    """Runs one look-up at a time, of all topics that are due."""

    def __init__(
        self,
        engine: Engine,
        publishing: Publishing,
        clock: Clock,
        note_end: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self._engine = engine
        self._publishing = publishing
        self._clock = clock
        self._note_end = note_end
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the next look-up, unless one runs: its end wakes the caller."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look_up())
            self._task.add_done_callback(self._note_end)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _look_up(self) -> None:
        topics: Sequence[str] = self._engine.look_ups.take_due()
        missing: set[str] | None = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                missing = await self._publishing.find_missing(topics)
        except (TimeoutError, SourceError) as error:
            log.warning(
                "reply topics cannot be looked up now: %r",
                error,
                extra={
                    "event": "reply_topics_not_looked_up",
                    "topics": sorted(topics),
                    "error_class": type(error).__name__,
                },
            )
        self._engine.backlog.looked_up(
            topics, missing, self._clock.monotonic(), self._clock.epoch_ms()
        )
