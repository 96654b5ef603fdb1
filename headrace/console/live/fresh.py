"""Keeps an answer for a moment, so that many who ask cost as much as one."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from handoff.clock import Clock

T = TypeVar("T")


class Fresh(Generic[T]):
    """Answers by question, no older than ``age_s``; one is asked at a time.

    An answer that took longer than that is kept for as long as it took: whoever asks again and
    again has the source busy for half of the time at most. At most ``most`` answers are kept,
    those that were asked for last.
    """

    def __init__(self, clock: Clock, *, age_s: float, most: int) -> None:
        self._clock = clock
        self._age_s = age_s
        self._most = most
        self._answers: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._asking = asyncio.Lock()
        self._forgotten = 0

    async def get(self, question: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer that is kept, or ask; what ``ask`` raises is raised, and not kept."""
        # Nobody who can be answered waits for what somebody else asks.
        if (known := self._known(question)) is not None:
            return known[1]
        async with self._asking:
            if (known := self._known(question)) is not None:
                return known[1]
            began_s, forgotten = self._clock.monotonic(), self._forgotten
            answer = await ask()
            now_s = self._clock.monotonic()
            if forgotten == self._forgotten:
                self._answers[question] = now_s + max(self._age_s, now_s - began_s), answer
                self._answers.move_to_end(question)
                while len(self._answers) > self._most:
                    self._answers.popitem(last=False)
            return answer

    def forget(self) -> None:
        """Ask again from now on; what is being asked counts as old."""
        self._forgotten += 1
        self._answers.clear()

    def _known(self, question: Hashable) -> tuple[float, T] | None:
        known = self._answers.get(question)
        return known if known is not None and self._clock.monotonic() < known[0] else None
