"""The longest recent duration."""

LEAST_PERIOD_S = 3600.0
_PERIOD_IN_LONGESTS = 10.0


class LongestLately:
    """Remembers the longest duration of the current period and of the one before.

    A period lasts an hour, or ten times the longest duration if that is more, so that work of hours
    is remembered until it comes again. A single outlier is forgotten after two periods.
    """

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._longest_before_s = 0.0
        self._began_at_s: float | None = None

    @property
    def seconds(self) -> float:
        return max(self._longest_s, self._longest_before_s)

    def learn(self, took_s: float, now_s: float) -> None:
        if self._began_at_s is None:
            self._began_at_s = now_s
        if now_s - self._began_at_s > max(LEAST_PERIOD_S, _PERIOD_IN_LONGESTS * self.seconds):
            self._longest_before_s, self._longest_s = self._longest_s, 0.0
            self._began_at_s = now_s
        self._longest_s = max(self._longest_s, took_s)
