"""What may be written, what was taken for it, and what is durable."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from headrace_client.jobs.outcomes import Answer, Failure, Outcome, Piece
from headrace_client.jobs.ranges import RangeSet


class _Ready(NamedTuple):
    first: int
    end: int
    request_first: int
    outcome: Outcome


class _Taken(NamedTuple):
    sequence: int
    first: int
    end: int
    failed: bool


class Writing:
    """Outcomes from the moment of the answer until they are durable.

    Args:
        ordered: Pieces are taken in the order of their items.
        written: Ranges that a former process wrote.
    """

    def __init__(self, *, ordered: bool, written: Iterable[tuple[int, int]]) -> None:
        ranges = list(written)
        self.done = RangeSet(ranges)
        self.taken = RangeSet(ranges)
        self.durable = RangeSet(ranges)
        self.result_bytes = 0
        self.failed_durable = 0
        self._ordered = ordered
        self._by_first: dict[int, _Ready] = {}
        self._in_turn: deque[_Ready] = deque()
        self._in_hand: deque[_Taken] = deque()
        self._sequence = 0

    @property
    def waiting_pieces(self) -> int:
        """Answers that were not taken."""
        return len(self._by_first) + len(self._in_turn)

    @property
    def in_hand_pieces(self) -> int:
        """Pieces that were taken and are not durable."""
        return len(self._in_hand)

    def is_turn(self, items_read: int) -> bool:
        """Whether something may be taken now."""
        if self._ordered:
            ready = self._by_first.get(self.taken.next_missing(0))
            return ready is not None and ready.end <= items_read
        return any(each.end <= items_read for each in self._in_turn)

    def put(self, first: int, end: int, request_first: int, outcome: Outcome) -> None:
        """Note the outcome of items that had none."""
        self.done.add(first, end)
        ready = _Ready(first, end, request_first, outcome)
        if self._ordered:
            self._by_first[first] = ready
        else:
            self._in_turn.append(ready)
        if isinstance(outcome, Answer):
            self.result_bytes += outcome.size_bytes

    def take(self, items_read: int, most_items: int | None) -> list[Piece]:
        """The pieces whose turn it is, of items that were read."""
        pieces: list[Piece] = []
        room = most_items
        for ready in self._ordered_turn() if self._ordered else list(self._in_turn):
            if ready.end > items_read:
                if self._ordered:
                    break
                continue
            if room is not None:
                if pieces and ready.end - ready.first > room:
                    break
                room -= ready.end - ready.first
            pieces.append(self._take(ready))
        if not self._ordered and pieces:
            self._in_turn = deque(
                each for each in self._in_turn if not self.taken.covers(each.first, each.end)
            )
        return pieces

    def _ordered_turn(self) -> Iterable[_Ready]:
        # Others may have been written before, by a job that went on with what had failed.
        item = self.taken.next_missing(0)
        while (ready := self._by_first.get(item)) is not None:
            yield ready
            item = self.taken.next_missing(ready.end)

    def _take(self, ready: _Ready) -> Piece:
        self._sequence += 1
        self._by_first.pop(ready.first, None)
        self.taken.add(ready.first, ready.end)
        failed = isinstance(ready.outcome, Failure)
        self._in_hand.append(_Taken(self._sequence, ready.first, ready.end, failed))
        if isinstance(ready.outcome, Answer):
            # The payload may be shared with pieces that are still to be taken.
            self.result_bytes -= ready.outcome.size_bytes
        return Piece(self._sequence, ready.first, ready.end, ready.request_first, ready.outcome)

    def written(self, sequence: int) -> None:
        """Note that all pieces up to ``sequence`` are durable."""
        in_hand = self._in_hand
        while in_hand and in_hand[0].sequence <= sequence:
            taken = in_hand.popleft()
            self.durable.add(taken.first, taken.end)
            if taken.failed:
                self.failed_durable += taken.end - taken.first
