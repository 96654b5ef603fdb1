"""How fast records finish, from samples over time. Pure."""

RATE_OVER_S = 5.0


class Progress:
    """Samples of how many records have finished; times in seconds, ascending."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, int]] = []

    def add(self, at_s: float, finished: int) -> None:
        self._samples.append((at_s, finished))

    def rate_since(self, since_s: float, now_s: float) -> float:
        """Return the rate over the last seconds; 0 as long as they began before ``since_s``."""
        begin_s = now_s - RATE_OVER_S
        window = [each for each in self._samples if begin_s <= each[0] <= now_s]
        if begin_s < since_s or len(window) < 2:
            return 0.0
        (first_s, first), (last_s, last) = window[0], window[-1]
        return (last - first) / (last_s - first_s)

    def longest_gap_s(self, since_s: float, now_s: float) -> float:
        """Return the longest time without progress between two moments."""
        longest_s, moved_at_s, latest = 0.0, since_s, None
        for at_s, finished in self._samples:
            if at_s < since_s:
                latest = finished
            elif finished != latest:
                longest_s = max(longest_s, at_s - moved_at_s)
                moved_at_s, latest = at_s, finished
        return max(longest_s, now_s - moved_at_s)
