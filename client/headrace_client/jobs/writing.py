"""What may be written, what was taken for it, and what is durable."""

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from headrace_client.jobs.outcomes import Answer, Failure, Outcome, Piece
from headrace_client.jobs.ranges import RangeSet


class _Ready(NamedTuple):
    first: int
    end: int
    request_first: int
    size_bytes: int
    outcome: Outcome

    def cut_at(self, item: int) -> "tuple[_Ready, _Ready]":
        return self._replace(end=item, size_bytes=0), self._replace(first=item)


class _Room:
    """What may be taken at a time; the first piece always."""

    def __init__(self, most_items: int | None, most_bytes: int | None) -> None:
        self._items = inf if most_items is None else most_items
        self._bytes = inf if most_bytes is None else most_bytes
        self._is_first = True

    def has_room(self, items: int, size_bytes: int) -> bool:
        if not self._is_first and (items > self._items or size_bytes > self._bytes):
            return False
        self._is_first = False
        self._items -= items
        self._bytes -= size_bytes
        return True


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
        self._answered_items = 0
        self._answered_bytes = 0

    @property
    def item_bytes(self) -> float:
        """The bytes of an item's answer, of those that came so far."""
        return self._answered_bytes / self._answered_items if self._answered_items else 0.0

    @property
    def in_hand_pieces(self) -> int:
        """Pieces that were taken and are not durable."""
        return len(self._in_hand)

    def is_turn(self, items_read: int) -> bool:
        """Whether something may be taken now."""
        if self._ordered:
            item = self.taken.prefix
            return item < items_read and item in self._by_first
        return any(each.first < items_read for each in self._in_turn)

    def put(self, first: int, end: int, request_first: int, outcome: Outcome) -> None:
        """Note the outcome of items that had none."""
        self.done.add(first, end)
        size_bytes = outcome.size_bytes if isinstance(outcome, Answer) else 0
        self._answered_items += end - first
        self._answered_bytes += size_bytes
        ready = _Ready(first, end, request_first, size_bytes, outcome)
        if self._ordered:
            self._by_first[first] = ready
        else:
            self._in_turn.append(ready)
        self.result_bytes += size_bytes

    def take(
        self, items_read: int, most_items: int | None, most_bytes: int | None = None
    ) -> list[Piece]:
        """The pieces whose turn it is, of items that were read."""
        room = _Room(most_items, most_bytes)
        if self._ordered:
            return self._take_in_order(items_read, room)
        pieces: list[Piece] = []
        early: list[_Ready] = []
        while self._in_turn:
            ready = self._in_turn.popleft()
            if ready.first >= items_read:
                early.append(ready)
                continue
            if ready.end > items_read:
                ready, rest = ready.cut_at(items_read)
                early.append(rest)
            if not room.has_room(ready.end - ready.first, ready.size_bytes):
                early.append(ready)
                break
            pieces.append(self._take(ready))
        self._in_turn.extendleft(reversed(early))
        return pieces

    def _take_in_order(self, items_read: int, room: _Room) -> list[Piece]:
        pieces: list[Piece] = []
        item = self.taken.prefix
        while item < items_read and (ready := self._by_first.get(item)) is not None:
            if not room.has_room(ready.end - item, ready.size_bytes):
                break
            del self._by_first[item]
            if ready.end > items_read:
                # A former process read further than this one has.
                ready, rest = ready.cut_at(items_read)
                self._by_first[items_read] = rest
            pieces.append(self._take(ready))
            # What follows may have been written before what failed was tried once more.
            item = self.taken.next_missing(ready.end)
        return pieces

    def _take(self, ready: _Ready) -> Piece:
        self._sequence += 1
        self.taken.add(ready.first, ready.end)
        failed = isinstance(ready.outcome, Failure)
        self._in_hand.append(_Taken(self._sequence, ready.first, ready.end, failed))
        self.result_bytes -= ready.size_bytes
        return Piece(self._sequence, ready.first, ready.end, ready.request_first, ready.outcome)

    def written(self, sequence: int) -> None:
        """Note that all pieces up to ``sequence`` are durable."""
        in_hand = self._in_hand
        while in_hand and in_hand[0].sequence <= sequence:
            taken = in_hand.popleft()
            self.durable.add(taken.first, taken.end)
            if taken.failed:
                self.failed_durable += taken.end - taken.first
