"""A circuit breaker: a model that is down must not use up the attempts of healthy records."""

FAILURES_TO_OPEN = 3
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
BLAMES_RECORDS_AFTER_S = 300.0
"""Each probe carries a record, which may be what keeps the model down for so long."""


class CircuitBreaker:
    """Opens after several calls in a row failed as a whole, without one answer between them.

    While it is open, one call at a time probes the model, after a pause that grows. A call that
    outlives the failed ones is being computed and no longer counts as a probe; the next probe goes
    out beside it. So a replica that dies repeatedly does not keep work from the others, whose
    answers take long. Any answer closes the breaker. The pattern is Nygard's ("Release It!", 2007).
    """

    def __init__(self) -> None:
        self._failures = 0
        self._opened_at_s = 0.0
        self._next_probe_s = 0.0
        self._answered_at_s = 0.0
        self._longest_failed_s = 0.0

    @property
    def failures(self) -> int:
        return self._failures

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES_TO_OPEN

    @property
    def outlived_s(self) -> float:
        """How long a call must be with its replica to count as being computed."""
        return max(LONGEST_PAUSE_S, 2.0 * self._longest_failed_s)

    def answered(self, now_s: float) -> None:
        self._failures = 0
        self._answered_at_s = now_s
        self._longest_failed_s = 0.0

    def call_failed(self, now_s: float, lived_s: float = 0.0) -> None:
        self._failures += 1
        self._longest_failed_s = max(self._longest_failed_s, lived_s)
        if self._failures == FAILURES_TO_OPEN:
            self._opened_at_s = now_s
        doublings = min(self._failures - FAILURES_TO_OPEN, 10)
        if doublings >= 0:
            self._next_probe_s = now_s + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**doublings)

    def may_call(self, now_s: float, probes_in_flight: int) -> bool:
        """Return whether a call may go out beside ``probes_in_flight`` open probes."""
        return not self.is_open or (probes_in_flight == 0 and now_s >= self._next_probe_s)

    def next_probe_at_s(self) -> float | None:
        return self._next_probe_s if self.is_open else None

    def blames(self, first_failed_at_s: float, now_s: float) -> bool:
        """Return whether a failure now counts against a record, by the time of its first failure.

        While the breaker is open, a failure counts only against records that kept failing while
        others were answered, or after ``BLAMES_RECORDS_AFTER_S``.
        """
        if not self.is_open or self._answered_at_s > first_failed_at_s:
            return True
        return now_s - self._opened_at_s >= BLAMES_RECORDS_AFTER_S
