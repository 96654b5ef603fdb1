"""Follows the registry of jobs while somebody wants to know."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from consumer.ports import ControlSource, SourceError
from handoff.clock import Clock
from headrace_client.registry.standing import JobStanding, Registry

UNWANTED_AFTER_S = 120.0
"""Then nothing is read, and nothing kept, until somebody asks again."""
FIRST_ANSWER_S = 3.0
RETRY_S = 10.0
_POLL_S = 1.0


class JobsFollower:
    """Keeps the registry of the jobs topic up to date; ``open_topic`` makes a source that reads it.

    It begins with the first question and reads the topic once, then what is added.
    """

    def __init__(self, open_topic: Callable[[], ControlSource], clock: Clock) -> None:
        self._open_topic = open_topic
        self._clock = clock
        self._registry: Registry | None = None
        self._problem: str | None = None
        self._caught_up = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._asked_at_s = 0.0

    async def jobs(self) -> Sequence[JobStanding]:
        """Return all jobs, those that began last first; raises ``SourceError`` without an answer.

        The first answer takes as long as the topic takes to read, but not over
        ``FIRST_ANSWER_S``.
        """
        self._asked_at_s = self._clock.monotonic()
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow())
        if not self._caught_up.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_ANSWER_S):
                    await self._caught_up.wait()
        if self._problem is not None:
            raise SourceError(self._problem)
        if self._registry is None or not self._caught_up.is_set():
            raise SourceError("the jobs topic is still being read")
        return self._registry.jobs()

    async def close(self) -> None:
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait([following])

    @property
    def _is_wanted(self) -> bool:
        return self._clock.monotonic() - self._asked_at_s < UNWANTED_AFTER_S

    async def _follow(self) -> None:
        try:
            while self._is_wanted:
                try:
                    await self._read_on()
                except SourceError as error:
                    self._problem = str(error)
                    # Whoever waits for the first answer hears of it.
                    self._caught_up.set()
                    await asyncio.sleep(RETRY_S)
        finally:
            self._registry = None
            self._problem = None
            self._caught_up.clear()

    async def _read_on(self) -> None:
        source = self._open_topic()
        registry = Registry()
        try:
            await source.start()
            while self._is_wanted:
                for record in await source.poll(_POLL_S):
                    registry.take(record.key, record.value)
                if source.is_caught_up:
                    self._registry, self._problem = registry, None
                    self._caught_up.set()
        finally:
            await source.stop()
