"""When to tell what a start waits for: often at first, and at each change. Pure."""

from collections.abc import Mapping

_FIRST_AFTER_S = 10.0
_MOST_BETWEEN_S = 60.0
_LEAST_BETWEEN_S = 2.0


class WaitTeller:
    """Tells lines again after 10, 20 and 40 s, then every minute; what is new it tells at once."""

    def __init__(self, started_s: float) -> None:
        self._started_s = started_s
        self._between_s = _FIRST_AFTER_S
        self._told_s = started_s
        self._told: frozenset[str] = frozenset()

    def is_due(self, now_s: float) -> bool:
        """Return whether ``lines`` can tell anything now; before, nothing need be asked for it."""
        is_early = now_s - self._started_s < _FIRST_AFTER_S
        return not is_early and now_s - self._told_s >= _LEAST_BETWEEN_S

    def lines(self, waiting: Mapping[str, str], now_s: float) -> list[str]:
        """Return what to tell now; ``waiting`` has a line for each application that waits."""
        if not self.is_due(now_s):
            return []
        elapsed_s, since_s = now_s - self._started_s, now_s - self._told_s
        lines = frozenset(waiting.values())
        if since_s >= self._between_s:
            chosen = list(waiting.values())
            self._between_s = min(2 * self._between_s, _MOST_BETWEEN_S)
        else:
            chosen = [line for line in waiting.values() if line not in self._told]
        if not chosen:
            return []
        self._told_s, self._told = now_s, lines
        return [f"{elapsed_s:.0f} s: {line}" for line in chosen]
