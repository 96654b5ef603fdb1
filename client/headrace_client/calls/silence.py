"""Says what a client waits for when no result comes for a while."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

SILENT_AFTER_S = 5.0
SAID_AGAIN_AFTER_S = 60.0
_SAME_ANSWER_S = 2.0


class Silence:
    """Whether anything is answered, and since when not. Pure: the caller has the clock."""

    def __init__(self) -> None:
        self._answered = -1
        self._since_s = 0.0
        self._said_s: float | None = None

    def is_due(self, now_s: float, open_requests: int, answered_requests: int) -> bool:
        """Tell whether it is time to say what is waited for; say so once for each silence."""
        if open_requests == 0 or answered_requests != self._answered:
            self._answered = answered_requests
            self._since_s = now_s
            self._said_s = None
            return False
        if now_s - self._since_s < SILENT_AFTER_S:
            return False
        if self._said_s is not None and now_s - self._said_s < SAID_AGAIN_AFTER_S:
            return False
        self._said_s = now_s
        return True

    def silent_s(self, now_s: float) -> float:
        return now_s - self._since_s


class SharedAnswer:
    """Asks once for all who ask at about the same time: thousands of calls time out together."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, asyncio.Task[str]]] = {}

    async def get(self, topic: str, ask: Callable[[], Coroutine[Any, Any, str]]) -> str:
        now_s = asyncio.get_running_loop().time()
        found = self._asked.get(topic)
        if found is None or now_s - found[0] > _SAME_ANSWER_S:
            found = now_s, asyncio.create_task(ask())
            self._asked[topic] = found
        return await asyncio.shield(found[1])

    async def close(self) -> None:
        tasks = [task for _at, task in self._asked.values() if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
