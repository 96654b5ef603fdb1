"""How long a call may be silent before its model replica counts as hung."""

from handoff.longest_lately import LongestLately

LEAST_S = 1800.0
"""A first batch may compile kernels, a first generation may be long: no learned limit is below."""
_LONGESTS = 4.0
_MOST_DOUBLINGS = 2
_MOST_BACKOFFS = 4


class AttemptTimeout:
    """The limit on the silence of a call: since a replica accepted it, or since its last outcomes.

    It limits silence and not the call's whole time, as records are answered one after the other.
    The time before a replica accepts the call does not count, as that may be loading.

    The learned limit is four times the longest silence that ended in an answer lately, and half an
    hour at least. It doubles with each timeout of a record, so that one which takes far longer than
    all others is not cut off each time. And it doubles for all with each timeout until there is an
    answer again: where nothing is answered, all of the work may take that long. (As TCP backs its
    timer off: Karn and Partridge, "Improving Round-Trip Time Estimates", 1987.)

    Args:
        set_s: The route's own limit in seconds, always the same; ``None`` to learn it.
    """

    def __init__(self, set_s: float | None) -> None:
        self._set_s = set_s
        self._longest = LongestLately()
        self._backoffs = 0

    def limit_s(self, earlier_timeouts: int) -> float:
        """Return the limit for a call whose records have had so many timeouts before."""
        if self._set_s is not None:
            return self._set_s
        doublings = min(earlier_timeouts, _MOST_DOUBLINGS) + self._backoffs
        return max(LEAST_S, _LONGESTS * self._longest.seconds) * 2.0**doublings

    def exceeded(self) -> None:
        """Note that a call was silent for longer than its limit."""
        self._backoffs = min(self._backoffs + 1, _MOST_BACKOFFS)

    def learn(self, silence_s: float, earlier_timeouts: int, now_s: float) -> None:
        """Learn from a silence that ended with an answer.

        Where it is over the limit, this process stood still; the model did not take that long.
        """
        self._longest.learn(min(silence_s, self.limit_s(earlier_timeouts)), now_s)
        self._backoffs = 0
