"""How long a batch takes by itself, on a device that others use too. Pure: time is an argument."""

from threading import Lock


class OwnTime:
    """Takes a batch's wait behind the one before it off its duration.

    ``queues`` says whether the device runs one batch after the other. Otherwise batches run side by
    side, and each takes what it takes.
    """

    def __init__(self, *, queues: bool) -> None:
        self._queues = queues
        self._free_at_s = 0.0
        self._lock = Lock()

    def finished(self, started_s: float, now_s: float) -> float:
        """Return the seconds that a batch took which ends now; several threads may call it."""
        if not self._queues:
            return now_s - started_s
        with self._lock:
            own_s = now_s - max(started_s, self._free_at_s)
            self._free_at_s = max(self._free_at_s, now_s)
        return max(0.0, own_s)
