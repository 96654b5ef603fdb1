"""Whether the consumer itself stalls: something waits, and nothing blocks it."""

from collections.abc import Hashable

from handoff.longest_lately import LongestLately

LEAST_S = 300.0
_LONGESTS = 4.0
_LONGEST_LOOK_S = 60.0
"""A longer time between two looks is a pause of this process, and counts as this much."""


class StallWatch:
    """Detects stalls from what moved since the last look and what waits with nothing in its way.

    A wait for a broker, a replica or a backoff is no stall; the caller leaves it out. The limit is
    learned: four times the longest recent wait that ended by itself, and at least five minutes.
    """

    def __init__(self) -> None:
        self._longest = LongestLately()
        self._standing: Hashable = None
        self._looked_at_s: float | None = None
        self._waited_s: float | None = None

    @property
    def limit_s(self) -> float:
        return max(LEAST_S, _LONGESTS * self._longest.seconds)

    def has_moved(self, standing: Hashable, now_s: float) -> bool:
        """Return whether ``standing``, which changes with all progress, has changed since."""
        if standing == self._standing:
            return False
        if self._waited_s is not None:
            self._longest.learn(min(self._waited_s, self.limit_s), now_s)
        self._standing = standing
        self._waited_s = None
        self._looked_at_s = now_s
        return True

    def judge(self, waiting: str | None, now_s: float) -> str | None:
        """Return why the consumer stalls, after a look at which nothing moved."""
        looked_at_s, self._looked_at_s = self._looked_at_s, now_s
        if waiting is None:
            self._waited_s = None
            return None
        if self._waited_s is None or looked_at_s is None:
            self._waited_s = 0.0
            return None
        self._waited_s += min(now_s - looked_at_s, _LONGEST_LOOK_S)
        if self._waited_s < self.limit_s:
            return None
        return f"{waiting}; nothing is in the way, and nothing has moved for {self._waited_s:.0f} s"
