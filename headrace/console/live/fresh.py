"""Keeps an answer for a moment, so that many who ask cost as much as one."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from handoff.clock import Clock

T = TypeVar("T")


class Fresh(Generic[T]):
    """Answers by question, no older than ``age_s``; one is asked at a time.

    At most ``most`` answers are kept, those that were asked for last.
    """

    def __init__(self, clock: Clock, *, age_s: float, most: int) -> None:
        self._clock = clock
        self._age_s = age_s
        self._most = most
        self._answers: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._asking = asyncio.Lock()

    async def get(self, question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer that is kept, or ask; what ``ask`` raises is raised, and not kept."""
        async with self._asking:
            known = self._answers.get(question)
            now_s = self._clock.monotonic()
            if known is not None and now_s - known[0] < self._age_s:
                return known[1]
            answer = await ask()
            self._answers[question] = self._clock.monotonic(), answer
            self._answers.move_to_end(question)
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
            return answer

    def forget(self) -> None:
        self._answers.clear()
