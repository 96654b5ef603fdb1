"""How long at least one of several batches ran. Pure: time is an argument."""

from threading import Lock


class BusyTime:
    """Adds up the time in which anything runs; several threads may call it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running = 0
        self._since_s = 0.0
        self._busy_s = 0.0

    def began(self, now_s: float) -> None:
        with self._lock:
            if not self._running:
                self._since_s = now_s
            self._running += 1

    def ended(self, now_s: float) -> None:
        with self._lock:
            self._running -= 1
            if not self._running:
                self._busy_s += max(0.0, now_s - self._since_s)

    def until(self, now_s: float) -> float:
        """Return the busy seconds so far, with those of what runs now."""
        with self._lock:
            running_s = max(0.0, now_s - self._since_s) if self._running else 0.0
            return self._busy_s + running_s
