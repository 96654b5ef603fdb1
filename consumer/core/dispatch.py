"""How much to hand to the model replicas now: one pure choice."""

from dataclasses import dataclass, field

REPLICA_SILENT_AFTER_S = 60.0


@dataclass(slots=True)
class ReplicaWindows:
    """How many records to keep in flight: the sum of what the replicas seen lately ask for.

    Each model replica says with its outcomes how many records it wants in flight from this
    consumer; nothing has to be configured twice, and replicas that come and go are noticed by the
    outcomes that come and stop coming.
    """

    initial_records: int
    _windows: dict[str, tuple[int, float]] = field(default_factory=dict)

    def learn(self, replica: str, window_records: int, now_s: float) -> None:
        """Take in what a replica asked for at ``now_s`` (monotonic seconds)."""
        self._windows[replica] = (max(1, window_records), now_s)

    def forget_silent(self, now_s: float) -> None:
        """Drop the replicas that have sent nothing for ``REPLICA_SILENT_AFTER_S``."""
        silent = [
            replica
            for replica, (_, seen_s) in self._windows.items()
            if now_s - seen_s > REPLICA_SILENT_AFTER_S
        ]
        # The last one's word stands: an idle route must not start again from a guess.
        for replica in silent[: len(self._windows) - 1]:
            del self._windows[replica]

    @property
    def replicas(self) -> list[str]:
        """Names of the model replicas that have been seen lately."""
        return list(self._windows)

    @property
    def records(self) -> int:
        """The most records to have in flight over all replicas."""
        if not self._windows:
            return self.initial_records
        return sum(window for window, _ in self._windows.values())

    @property
    def smallest_records(self) -> int:
        """The smallest window of any one replica."""
        return min((window for window, _ in self._windows.values()), default=self.initial_records)


def chunk_records(
    *,
    queued: int,
    in_flight: int,
    window_records: int,
    smallest_window: int,
    most_records: int,
    calls_per_window: int,
) -> int:
    """Return how many records to dispatch in one handle call now; 0 to wait.

    A call costs the same whatever it carries, so a chunk goes out when it is full, or when it
    takes everything that waits. A full chunk is one of ``calls_per_window`` parts of the smallest
    window: a replica then always has one to start while another's outcomes come back, and no
    replica is ahead of another by more than a part.

    Args:
        queued: Records that wait.
        in_flight: Records handed over and unanswered.
        window_records: The most that may be in flight.
        smallest_window: The smallest window of one replica.
        most_records: The route's ``flow.chunk_records``.
        calls_per_window: Into how many calls the model's replicas want their window divided. Few
            where a batch is computed together; many where each record ends at its own time, so
            that what ends is made up for at once.
    """
    full = max(1, min(most_records, smallest_window // calls_per_window))
    wanted = min(full, queued)
    return wanted if wanted and window_records - in_flight >= wanted else 0
