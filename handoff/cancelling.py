"""Which records of a call its replica is still to be told to let go of."""

from collections.abc import Iterable

AGAIN_AFTER_S = 5.0
"""A replica answers a cancellation at once. After this time it is sent again, and a call in which
nothing is wanted is closed: the replica may be shutting down, and then no cancellation reaches
it."""


class CallCancellation:
    """The cancelled records of one call, from the first cancellation to the last outcome."""

    __slots__ = ("_sent", "_sent_at_s", "_since_s")

    def __init__(self) -> None:
        self._sent: set[int] = set()
        self._sent_at_s = 0.0
        self._since_s: float | None = None

    def take_due(self, unwanted: Iterable[int], now_s: float) -> list[int]:
        """Return which of the unanswered records that nobody wants are to be cancelled now.

        Call this only when the replica has named itself: before that it may not know the call.
        """
        if self._sent and now_s - self._sent_at_s >= AGAIN_AFTER_S:
            self._sent.clear()
        due = [index for index in unwanted if index not in self._sent]
        if due:
            self._sent.update(due)
            self._sent_at_s = now_s
        return due

    def begin(self, now_s: float) -> None:
        """Note that nothing of the call is wanted: from here its replica has its time."""
        if self._since_s is None:
            self._since_s = now_s

    def is_overdue(self, now_s: float) -> bool:
        """Return whether the replica has had its time to answer."""
        return self._since_s is not None and now_s - self._since_s >= AGAIN_AFTER_S
