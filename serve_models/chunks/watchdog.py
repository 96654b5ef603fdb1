"""Finds work that hangs, by how long such work took before. Pure."""

from collections.abc import Hashable
from dataclasses import dataclass

_FORGETS = 0.01
"""The part of the slowest duration that each observation forgets, so that an outlier passes."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long work may take.

    Attributes:
        least_s: Seconds that any work may take.
        first_s: Seconds that the first work may take, which includes compiling and loading.
        multiple: Work may take this many times the slowest so far, by its size.
    """

    least_s: float
    first_s: float
    multiple: float = 20.0


class Watchdog:
    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._slowest_s: float | None = None
        self._under_way: dict[Hashable, tuple[float, float]] = {}

    def began(self, key: Hashable, now_s: float, size: float = 1.0) -> None:
        """Watch a piece of work; its duration grows with ``size``."""
        self._under_way[key] = (now_s, max(size, 1.0))

    def finished(self, key: Hashable, now_s: float) -> None:
        since_s, size = self._under_way.pop(key)
        slowest_s = (self._slowest_s or 0.0) * (1 - _FORGETS)
        self._slowest_s = max(slowest_s, (now_s - since_s) / size)

    def dropped(self, key: Hashable) -> None:
        self._under_way.pop(key, None)

    def overdue_s(self, now_s: float) -> float | None:
        # Copied at once: other threads begin and finish meanwhile.
        overdue = [
            now_s - since_s
            for since_s, size in list(self._under_way.values())
            if now_s - since_s > self._limit_s(size)
        ]
        return max(overdue, default=None)

    def _limit_s(self, size: float) -> float:
        if self._slowest_s is None:
            return max(self._patience.first_s, self._patience.least_s)
        return max(self._patience.least_s, self._patience.multiple * self._slowest_s * size)


class SilenceWatch:
    """Watches work on many requests at once: while there is some, it must not stay silent."""

    def __init__(self, patience: Patience) -> None:
        self._watchdog = Watchdog(patience)
        self._requests = 0

    def opened(self, now_s: float) -> None:
        if not self._requests:
            self._watchdog.began(self, now_s)
        self._requests += 1

    def closed(self) -> None:
        self._requests -= 1
        if not self._requests:
            self._watchdog.dropped(self)

    def heard(self, now_s: float) -> None:
        if self._requests:
            self._watchdog.finished(self, now_s)
            self._watchdog.began(self, now_s)

    def alive(self, now_s: float) -> None:
        """Restart the wait, without learning how long work takes."""
        if self._requests:
            self._watchdog.began(self, now_s)

    def silent_s(self, now_s: float) -> float | None:
        """Return the length of a silence that is too long, else ``None``."""
        return self._watchdog.overdue_s(now_s)
