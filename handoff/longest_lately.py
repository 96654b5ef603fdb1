"""The longest time that something took lately."""

LEAST_PERIOD_S = 3600.0
_PERIOD_IN_LONGESTS = 10.0


class LongestLately:
    """Remembers the longest of the current period and of the one before.

    A period lasts an hour, or ten times the longest if that is more, so that what takes hours is
    remembered until it has come again. A single outlier is forgotten after two periods.
    """

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._longest_before_s = 0.0
        self._began_at_s: float | None = None

    @property
    def seconds(self) -> float:
        """The longest; 0 if nothing was timed."""
        return max(self._longest_s, self._longest_before_s)

    def learn(self, took_s: float, now_s: float) -> None:
        """Add a time that ended at ``now_s``."""
        if self._began_at_s is None:
            self._began_at_s = now_s
        if now_s - self._began_at_s > max(LEAST_PERIOD_S, _PERIOD_IN_LONGESTS * self.seconds):
            self._longest_before_s, self._longest_s = self._longest_s, 0.0
            self._began_at_s = now_s
        self._longest_s = max(self._longest_s, took_s)
