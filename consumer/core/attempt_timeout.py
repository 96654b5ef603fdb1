"""How long a call may be silent before its model replica counts as hung."""

from consumer.core.longest_lately import LongestLately

LEAST_S = 600.0
"""A first batch may compile kernels, a first generation may be long: no learned limit is below."""
_LONGESTS = 4.0
_MOST_DOUBLINGS = 3


class AttemptTimeout:
    """The limit on the silence of a call: from when a replica took it, or from its last outcomes.

    Silence and not the whole call's time, as a chunk's records are answered one after the other;
    and not the time before a replica has taken it, as that may be loading.

    The learned limit is four times the longest silence that ended well lately, and ten minutes at
    least. It doubles with each timeout of a record, so that one which takes far longer than all
    others is not cut off each time.

    Args:
        set_s: The route's own limit in seconds, always the same; ``None`` to learn it.
    """

    def __init__(self, set_s: float | None) -> None:
        self._set_s = set_s
        self._longest = LongestLately()

    def limit_s(self, earlier_timeouts: int) -> float:
        """Return the limit for a call whose records have had so many timeouts before."""
        if self._set_s is not None:
            return self._set_s
        learned_s = max(LEAST_S, _LONGESTS * self._longest.seconds)
        return learned_s * 2.0 ** min(earlier_timeouts, _MOST_DOUBLINGS)

    def learn(self, silence_s: float, earlier_timeouts: int, now_s: float) -> None:
        """Take in a silence that ended with outcomes.

        One over the limit is not the model's: this process stood still.
        """
        self._longest.learn(min(silence_s, self.limit_s(earlier_timeouts)), now_s)
