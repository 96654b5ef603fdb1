"""Rates of what was answered, over a sliding window."""

from collections import deque
from typing import NamedTuple

_SAMPLES = 60


def eta_s(left: int, per_s: float) -> float | None:
    """Seconds until nothing is left; ``None`` if that cannot be said."""
    if left <= 0:
        return 0.0
    return left / per_s if per_s else None


class _Sample(NamedTuple):
    at: float
    items: int
    tokens: int
    bytes: int


class Rates:
    """Counts of answers, and how fast they grow.

    Args:
        window_s: The time over which a rate is taken. It is noted in at most 60 samples.
        now: When counting begins.
    """

    def __init__(self, window_s: float, now: float) -> None:
        self._window_s = window_s
        self._items = self._tokens = self._bytes = 0
        self._samples: deque[_Sample] = deque([_Sample(now, 0, 0, 0)])

    def add(self, items: int, tokens: int, size_bytes: int, now: float) -> None:
        self._items += items
        self._tokens += tokens
        self._bytes += size_bytes
        if now - self._samples[-1].at >= self._window_s / _SAMPLES:
            self._samples.append(_Sample(now, self._items, self._tokens, self._bytes))
            self._forget(now)

    def per_s(self, now: float) -> tuple[float, float, float]:
        """Items, tokens and bytes a second."""
        self._forget(now)
        since = self._samples[0]
        elapsed_s = now - since.at
        if elapsed_s <= 0:
            return 0.0, 0.0, 0.0
        return (
            (self._items - since.items) / elapsed_s,
            (self._tokens - since.tokens) / elapsed_s,
            (self._bytes - since.bytes) / elapsed_s,
        )

    def _forget(self, now: float) -> None:
        samples = self._samples
        while len(samples) > 1 and samples[1].at <= now - self._window_s:
            samples.popleft()
