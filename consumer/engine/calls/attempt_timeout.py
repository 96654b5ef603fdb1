"""How long a call may be silent before its model replica counts as hung."""

from handoff.longest_lately import LongestLately

LEAST_S = 1800.0
"""The least learned limit: a first batch may compile kernels, a first generation may be long."""
MOST_WORKING_S = 24 * 3600.0
"""How long signs of work count: a replica that works may yet have lost one of its records."""
_LONGESTS = 4.0
_MOST_DOUBLINGS = 2
_MOST_BACKOFFS = 4


class AttemptTimeout:
    """Limits the silence of a call: since a replica accepted it, or since its last outcomes.

    Silence and not total time, as records are answered one after the other. The time before a
    replica accepts the call does not count, as that may be loading.

    A replica that says that it works on the call is not silent: one generation may take hours.

    A route may set the limit (``set_s``), which then limits the time without outcomes. A learned
    limit is four times the longest recent silence that ended in an answer, and at least half an
    hour. It doubles with each timeout of a record, so that a record far slower than the others is
    not cut off each time. It also doubles for all calls with each timeout until there is an answer:
    where nothing is answered, all work may take that long (TCP's timer backoff: Karn and Partridge,
    "Improving Round-Trip Time Estimates", 1987).
    """

    def __init__(self, set_s: float | None) -> None:
        self._set_s = set_s
        self._longest = LongestLately()
        self._backoffs = 0

    def limit_s(self, earlier_timeouts: int) -> float:
        """Return the limit for a call whose records have timed out this often before."""
        if self._set_s is not None:
            return self._set_s
        doublings = min(earlier_timeouts, _MOST_DOUBLINGS) + self._backoffs
        return max(LEAST_S, _LONGESTS * self._longest.seconds) * 2.0**doublings

    def silent_since_s(self, heard_at_s: float, working_at_s: float) -> float:
        """Return when the silence of a call began, by its last outcomes and signs of work."""
        if self._set_s is not None:
            return heard_at_s
        return max(heard_at_s, min(working_at_s, heard_at_s + MOST_WORKING_S))

    def exceeded(self) -> None:
        self._backoffs = min(self._backoffs + 1, _MOST_BACKOFFS)

    def learn(self, silence_s: float, earlier_timeouts: int, now_s: float) -> None:
        """Learn from an answered silence; beyond the limit, this process stood still."""
        self._longest.learn(min(silence_s, self.limit_s(earlier_timeouts)), now_s)
        self._backoffs = 0
