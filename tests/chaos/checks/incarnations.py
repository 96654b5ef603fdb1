"""Distinguishes topics that had the same name: each counts its offsets from 0. Pure."""

from bisect import bisect_right

from tests.chaos.checks.promises import Position

_STRIDE = 1_000
"""Partition 2 of a topic that was created again once is log 1002."""


def partition_of(log: int) -> int:
    """Return the partition's number in its topic."""
    return log % _STRIDE


class Incarnations:
    """Which topic a record was on; what is known of a record is stored under its partition's log.

    An outcome names only partition and offset of its request, and two topics have had both. But its
    key is the request's, and names are drawn in order.
    """

    def __init__(self) -> None:
        self._first_drawn: list[int] = []

    def recreated(self, drawn: int) -> None:
        """The topic was created again after this many names had been drawn."""
        self._first_drawn.append(drawn)

    @property
    def number(self) -> int:
        """How often the topic was created again."""
        return len(self._first_drawn)

    def log(self, partition: int) -> int:
        """Return the current log of a partition."""
        return self.number * _STRIDE + partition

    def position(self, partition: int, offset: int, key: bytes | None) -> Position:
        """Return the position of the record with this key."""
        incarnation = self.number
        if self._first_drawn and key is not None:
            incarnation = bisect_right(self._first_drawn, int(key[1:]) - 1)
        return incarnation * _STRIDE + partition, offset
