"""The pauses of all routes as the status board knows them, read again every second."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from consumer.engine.pausing import Pause

log = logging.getLogger(__name__)

READ_EVERY_S = 1.0


class PauseBook:
    """Keeps the last good reading of ``read``, which may block; one reading at a time.

    While Ray's store does not answer, a pause goes on, and so does a route that is not paused.
    """

    def __init__(self, read: Callable[[], Mapping[str, Pause]]) -> None:
        self._read = read
        self._pauses: Mapping[str, Pause] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._read_at_s = 0.0

    async def latest(self, now_s: float) -> Mapping[str, Pause] | None:
        """Return the pauses, ``None`` before the first reading has succeeded."""
        if self._reading is None or (
            self._reading.done() and now_s >= self._read_at_s + READ_EVERY_S
        ):
            self._read_at_s = now_s
            self._reading = asyncio.create_task(self._read_once())
        if self._pauses is None:
            await asyncio.wait([self._reading])
        return self._pauses

    async def _read_once(self) -> None:
        try:
            self._pauses = await asyncio.to_thread(self._read)
        except Exception as error:  # noqa: BLE001 - the last reading stands
            log.debug("the pauses of routes cannot be read now: %r", error)
