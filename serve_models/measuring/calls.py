"""Counts of a replica's calls, and of the records that went back to their callers."""

from collections import Counter
from collections.abc import Sequence

from handoff.chunk import STATUS_EXPIRED, STATUS_FAILED, STATUS_UNAVAILABLE
from handoff.exporting import Key

_FIRST_REFUSAL = 400
OUTCOMES = ("answered", "refused", "expired", "cancelled", "failed", "turned_away")
"""All values of the label ``outcome``."""


class CallCounts:
    """Counts that only grow. One event loop owns them."""

    def __init__(self) -> None:
        self.calls = 0
        self.records: Counter[str] = Counter()
        self._cancelled_to_come = 0

    def cancelled(self) -> None:
        """Note a record that was let go of; its outcome is still to be streamed."""
        self._cancelled_to_come += 1

    def streamed(self, statuses: Sequence[int]) -> None:
        """Count outcomes that go back, by their status."""
        for status, records in Counter(statuses).items():
            outcome = outcome_of(status)
            if status == STATUS_UNAVAILABLE:
                cancelled = min(records, self._cancelled_to_come)
                self._cancelled_to_come -= cancelled
                self.records["cancelled"] += cancelled
                self.records[outcome] += records - cancelled
            else:
                self.records[outcome] += records

    def none_left(self) -> None:
        """Note that no call is open: nothing is to come, also from calls that were closed."""
        self._cancelled_to_come = 0

    def readings(self) -> dict[Key, float]:
        counts: dict[Key, float] = {"model_calls": self.calls}
        for outcome in OUTCOMES:
            counts["model_records", outcome] = self.records[outcome]
        return counts


def outcome_of(status: int) -> str:
    """Return what an outcome's status means, as one of ``OUTCOMES``."""
    if status < _FIRST_REFUSAL:
        return "answered"
    if status == STATUS_EXPIRED:
        return "expired"
    if status == STATUS_UNAVAILABLE:
        return "turned_away"
    return "refused" if status < STATUS_FAILED else "failed"
