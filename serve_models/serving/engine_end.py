"""The end of an engine that cannot go on: what comes of its calls, and of its process."""

import asyncio
import logging
import os
from collections.abc import Callable

logger = logging.getLogger(__name__)

_LAST_WORDS_S = 0.5
"""Time for what is finished to be streamed; the calls end with the process."""


def leave_soon() -> None:
    """End this process: its engine is dead.

    Ray Serve waits for three failed health checks, while its router prefers the replica that has
    nothing to do, and each record sent to a dead engine costs it an attempt. A process that is
    gone gets no calls, and is replaced at once.
    """
    asyncio.get_running_loop().call_later(_LAST_WORDS_S, os._exit, 1)


class EngineEnd:
    """Why an engine ended, and when its calls may end. One event loop owns it.

    Args:
        on_death: Called once when the engine dies; it ends the process soon. Until then no call
            ends: a record that its consumer had back by then might be sent here once more, and
            lose another attempt. Without it calls end as the engine dies.

    Attributes:
        cause: Why it ended; ``None`` while it goes on.
    """

    def __init__(self, on_death: Callable[[], None] | None = None) -> None:
        self.cause: BaseException | None = None
        self._on_death = on_death
        self._calls_may_end = asyncio.Event()

    def die(self, cause: BaseException) -> None:
        """Take note that the engine cannot go on; the first cause counts."""
        if self.cause is not None:
            return
        self.cause = cause
        if self._on_death is None:
            self._calls_may_end.set()
        else:
            logger.error("the replica leaves: %s: %s", type(cause).__name__, cause)
            self._on_death()

    def stop(self, cause: BaseException) -> None:
        """Take note that the engine was stopped, which is no death: calls end at once."""
        self.cause = self.cause or cause
        self._calls_may_end.set()

    async def calls_may_end(self) -> None:
        """Wait until a call that this end has cut short may end; call it after the end only."""
        await self._calls_may_end.wait()
