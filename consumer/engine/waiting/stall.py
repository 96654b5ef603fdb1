"""Whether the consumer itself stalls: something waits, and nothing is in its way."""

from collections.abc import Hashable

from handoff.longest_lately import LongestLately

LEAST_S = 300.0
_LONGESTS = 4.0
_LONGEST_LOOK_S = 60.0
"""More time between two looks is a pause of this process, and counts as this much."""


class StallWatch:
    """Judges by looks at what has moved since and at what waits with nothing in its way.

    A wait for a broker, a replica or a backoff is no stall; the caller leaves it out. How long is
    too long is learned: four times the longest such wait that ended by itself lately, and five
    minutes at least.
    """

    def __init__(self) -> None:
        self._longest = LongestLately()
        self._standing: Hashable = None
        self._looked_at_s: float | None = None
        self._waited_s: float | None = None

    @property
    def limit_s(self) -> float:
        """How long something may wait with nothing in its way."""
        return max(LEAST_S, _LONGESTS * self._longest.seconds)

    def has_moved(self, standing: Hashable, now_s: float) -> bool:
        """Return whether anything has moved since the last look.

        Args:
            standing: Changes whenever a record is read or gets on.
            now_s: Monotonic seconds.
        """
        if standing == self._standing:
            return False
        if self._waited_s is not None:
            self._longest.learn(min(self._waited_s, self.limit_s), now_s)
        self._standing = standing
        self._waited_s = None
        self._looked_at_s = now_s
        return True

    def judge(self, waiting: str | None, now_s: float) -> str | None:
        """Return why the consumer stalls, if it does, after a look at which nothing moved.

        Args:
            waiting: What waits with nothing in its way, for a person; ``None`` where nothing does.
            now_s: Monotonic seconds.
        """
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
