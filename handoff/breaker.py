"""Whether the model is up: a broken one must not burn the attempts of a healthy backlog."""

FAILURES_TO_OPEN = 3
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
BLAMES_RECORDS_AFTER_S = 300.0
"""A model that is down this long may well be down by the one record that it is given."""


class CircuitBreaker:
    """Opens after calls that failed as a whole, one after the other, with no answer between them.

    While it is open one call at a time goes out, after a growing pause, to find out whether the
    model is back, with the records that are suspected least. A call that has outlived those that
    failed is being computed, and no such question any more: the next goes out beside it. So one
    replica that dies again and again cannot keep the others, whose answers take long, from being
    given work. A failure meanwhile is held only against records that kept failing while others
    were answered. Any answer closes it. The pattern is Nygard's ("Release It!", 2007).
    """

    def __init__(self) -> None:
        self._failures = 0
        self._opened_at_s = 0.0
        self._next_probe_s = 0.0
        self._answered_at_s = 0.0
        self._longest_failed_s = 0.0

    @property
    def failures(self) -> int:
        """How many calls failed since the last answer."""
        return self._failures

    @property
    def is_open(self) -> bool:
        """Whether the model counts as down."""
        return self._failures >= FAILURES_TO_OPEN

    def answered(self, now_s: float) -> None:
        """The model has answered a record, by whatever outcome but a failure."""
        self._failures = 0
        self._answered_at_s = now_s
        self._longest_failed_s = 0.0

    def call_failed(self, now_s: float, lived_s: float) -> None:
        """A call ended without an answer, so long after a replica had taken it."""
        self._failures += 1
        self._longest_failed_s = max(self._longest_failed_s, lived_s)
        if self._failures == FAILURES_TO_OPEN:
            self._opened_at_s = now_s
        doublings = min(self._failures - FAILURES_TO_OPEN, 10)
        if doublings >= 0:
            self._next_probe_s = now_s + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**doublings)

    @property
    def outlived_s(self) -> float:
        """After how long with a replica a call is being computed, going by those that failed."""
        return max(LONGEST_PAUSE_S, 2.0 * self._longest_failed_s)

    def may_call(self, now_s: float, probes_in_flight: int) -> bool:
        """Say whether a call may go out beside so many that have outlived nothing yet."""
        return not self.is_open or (probes_in_flight == 0 and now_s >= self._next_probe_s)

    def blames(self, first_failed_at_s: float, now_s: float) -> bool:
        """Say whether a failure now counts against a record that first failed at some time.

        It does where the model has answered others since, or seemed to be up.
        """
        if not self.is_open or self._answered_at_s > first_failed_at_s:
            return True
        return now_s - self._opened_at_s >= BLAMES_RECORDS_AFTER_S

    def next_probe_at_s(self) -> float | None:
        """Return when the next call may go out, while open."""
        return self._next_probe_s if self.is_open else None
