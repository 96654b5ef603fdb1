"""What bounds requests in flight, by number or by bytes; who comes first goes first."""

import asyncio
from collections import deque

from headrace_client.errors import SettingsError


class Gate:
    """Lets ``limit`` through at a time; more than that at once goes when nothing else is through.

    Args:
        limit: At least 1.
        setting: The name of the setting, for the error message.
    """

    def __init__(self, limit: int, setting: str) -> None:
        if limit < 1:
            raise SettingsError(f"{setting}: must be at least 1, not {limit}")
        self._limit = limit
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self.used = 0

    def try_acquire(self, amount: int = 1) -> bool:
        """Go through at once, if nobody has to wait."""
        is_free = not self._waiting and self._has_room(amount)
        if is_free:
            self.used += amount
        return is_free

    async def acquire(self, amount: int = 1) -> None:
        if self.try_acquire(amount):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, amount))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._admit()
            else:
                self.release(amount)
            raise

    def release(self, amount: int = 1) -> None:
        self.used -= amount
        self._admit()

    def _admit(self) -> None:
        waiting = self._waiting
        while waiting:
            turn, amount = waiting[0]
            if turn.done():
                waiting.popleft()
            elif self._has_room(amount):
                waiting.popleft()
                self.used += amount
                turn.set_result(None)
            else:
                return

    def _has_room(self, amount: int) -> bool:
        return self.used == 0 or self.used + amount <= self._limit
