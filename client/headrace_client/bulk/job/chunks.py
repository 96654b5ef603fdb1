"""Rows that were read and are not all written, and which of them may be written next. Pure."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace_client.bulk.output.answered import Failure
from headrace_client.jobs import RangeSet

NO_ITEM = -1
"""In place of an item's number: the row failed before it became one."""
MOST_HELD_BYTES = 64 * 1024 * 1024
_MOST_HELD_ROWS = 262_144
_SHIFT_ITEMS = 1 << 16

Numbers = NDArray[np.int64]


@dataclass(slots=True, kw_only=True)
class Chunk:
    """Some rows as they were read.

    Attributes:
        row_numbers: Ascending.
        items: The item of each row, or ``NO_ITEM``.
        first_item: The number of the first item that these rows brought.
        payloads: What each of those items sends, as JSON.
        urls: The endpoint of each of those items, where rows name their own.
        columns: What OUT carries along of each row.
        custom_ids: The user's name for each row, where rows have one.
        failures: Rows that became no item, by position.
        size_bytes: What the chunk takes in memory.
        bytes_read: Of the input, up to the end of these rows.
    """

    row_numbers: Numbers
    items: Numbers
    first_item: int
    payloads: list[bytes]
    columns: pa.RecordBatch
    size_bytes: int
    bytes_read: int = 0
    urls: list[str] | None = None
    custom_ids: list[str] | None = None
    failures: Mapping[int, Failure] = field(default_factory=dict)

    @property
    def end_item(self) -> int:
        return self.first_item + len(self.payloads)

    def __len__(self) -> int:
        return len(self.row_numbers)


class WritableRows(NamedTuple):
    """Rows of one chunk that may be written now, by position, ascending."""

    chunk: Chunk
    positions: Numbers


class HeldRows:
    """Holds chunks until all of their rows were taken for writing.

    Args:
        ordered: Rows are taken in their order; else as their items have outcomes.
        items_taken: Items below this one have outcomes that were taken before.
        written_rows: Ranges [first, end) of rows above the first that is read, which a former
            process wrote.
        most_bytes: Beyond these no chunk should be added.
    """

    def __init__(
        self,
        *,
        ordered: bool,
        items_taken: int = 0,
        written_rows: Iterable[tuple[int, int]] = (),
        most_bytes: int = MOST_HELD_BYTES,
    ) -> None:
        self._most_bytes = most_bytes
        self._ordered = ordered
        self._taken = _TakenItems(items_taken)
        self._written_rows = list(written_rows)
        self._chunks: deque[_InOrder | _AsAnswered] = deque()
        self._first_items: list[int] = []
        self.rows = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def has_room(self) -> bool:
        return self.rows < _MOST_HELD_ROWS and self.size_bytes < self._most_bytes

    def add(self, chunk: Chunk) -> None:
        if not len(chunk):
            return
        held = _InOrder(chunk) if self._ordered else _AsAnswered(chunk)
        for first, end in self._written_rows:
            held.skip_rows(first, end)
        self._chunks.append(held)
        self._first_items.append(chunk.first_item)
        self.rows += len(chunk)
        self.size_bytes += chunk.size_bytes

    def payloads(self, first: int, end: int) -> list[bytes]:
        """Return what the items [first, end) send; they are held."""
        payloads: list[bytes] = []
        for chunk in self._with_items(first, end):
            base = chunk.first_item
            payloads += chunk.payloads[max(first - base, 0) : end - base]
        return payloads

    def url(self, item: int) -> str | None:
        """Return the endpoint that an item's row names."""
        for chunk in self._with_items(item, item + 1):
            return None if chunk.urls is None else chunk.urls[item - chunk.first_item]
        return None

    def note_outcomes(self, first: int, end: int) -> None:
        """Note that the items [first, end) have outcomes."""
        self._taken.add(first, end)

    def take(self) -> list[WritableRows]:
        """Take the rows that may be written now; what was taken whole is held no longer."""
        taken: list[WritableRows] = []
        for held in self._chunks:
            positions = held.take(self._taken)
            if len(positions):
                taken.append(WritableRows(held.chunk, positions))
            if self._ordered and held.left_rows:
                break
        self._release()
        return taken

    def start_of_rest(self) -> tuple[int, int] | None:
        """Return the lowest row that was not taken, and the item that the next new one will be.

        ``None`` if all that is held was taken.
        """
        for held in self._chunks:
            if held.left_rows:
                return held.start_of_rest()
        return None

    def written_above(self, row: int) -> list[tuple[int, int]]:
        """Return ranges [first, end) of rows above ``row`` that were taken before it."""
        if self._ordered:
            return []
        written = RangeSet(each for each in self._written_rows if each[0] > row)
        for held in self._chunks:
            numbers = held.taken_rows()
            # Where numbers do not follow each other, a range ends.
            breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
            for run in np.split(numbers, breaks):
                if len(run):
                    written.add(int(run[0]), int(run[-1]) + 1)
        return [each for each in written if each[0] > row]

    def _release(self) -> None:
        while self._chunks and not self._chunks[0].left_rows:
            chunk = self._chunks.popleft().chunk
            self._first_items.pop(0)
            self.rows -= len(chunk)
            self.size_bytes -= chunk.size_bytes

    def _with_items(self, first: int, end: int) -> Iterable[Chunk]:
        index = max(0, bisect_right(self._first_items, first) - 1)
        while index < len(self._chunks) and self._chunks[index].chunk.first_item < end:
            if self._chunks[index].chunk.end_item > first:
                yield self._chunks[index].chunk
            index += 1


class _InOrder:
    """A chunk whose rows are taken from the first to the last."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.left_rows = len(chunk)
        # Rows [0, n) may be written once the largest item among them has an outcome.
        self._needed: Numbers = np.maximum.accumulate(chunk.items)

    def skip_rows(self, first: int, end: int) -> None:
        """Rows above the first that is read were never written: they are in order."""

    def take(self, taken: "_TakenItems") -> Numbers:
        start = len(self.chunk) - self.left_rows
        end = max(start, int(np.searchsorted(self._needed, taken.prefix, side="left")))
        self.left_rows = len(self.chunk) - end
        return np.arange(start, end, dtype=np.int64)

    def taken_rows(self) -> Numbers:
        return self.chunk.row_numbers[: len(self.chunk) - self.left_rows]

    def start_of_rest(self) -> tuple[int, int]:
        return _start_at(self.chunk, len(self.chunk) - self.left_rows)


class _AsAnswered:
    """A chunk whose rows are taken when their items have outcomes."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.left_rows = len(chunk)
        self._pending = np.ones(len(chunk), dtype=np.bool_)

    def skip_rows(self, first: int, end: int) -> None:
        low, high = (int(each) for each in np.searchsorted(self.chunk.row_numbers, (first, end)))
        if low < high:
            self._pending[low:high] = False
            self.left_rows = int(self._pending.sum())

    def take(self, taken: "_TakenItems") -> Numbers:
        positions: Numbers = np.flatnonzero(self._pending & taken.has(self.chunk.items))
        self._pending[positions] = False
        self.left_rows -= len(positions)
        return positions

    def taken_rows(self) -> Numbers:
        return self.chunk.row_numbers[~self._pending]

    def start_of_rest(self) -> tuple[int, int]:
        return _start_at(self.chunk, int(np.argmax(self._pending)))


def _start_at(chunk: Chunk, position: int) -> tuple[int, int]:
    before = chunk.items[:position]
    highest = int(before.max()) if position else NO_ITEM
    return int(chunk.row_numbers[position]), max(chunk.first_item, highest + 1)


class _TakenItems:
    """Items that have outcomes: a prefix, and flags above it."""

    def __init__(self, prefix: int) -> None:
        self.prefix = prefix
        self._base = prefix
        self._flags = np.zeros(_SHIFT_ITEMS, dtype=np.bool_)

    def add(self, first: int, end: int) -> None:
        first = max(first, self._base)
        if end <= first:
            return
        if end - self._base > len(self._flags):
            self._make_room(end)
        self._flags[first - self._base : end - self._base] = True
        if first <= self.prefix < end:
            above = self._flags[self.prefix - self._base :]
            missing = int(np.argmin(above))
            self.prefix += missing if not above[missing] else len(above)

    def has(self, items: Numbers) -> NDArray[np.bool_]:
        above = items - self._base
        inside = (above >= 0) & (above < len(self._flags))
        found: NDArray[np.bool_] = items < self.prefix
        found[inside] |= self._flags[above[inside]]
        return found

    def _make_room(self, end: int) -> None:
        kept = self._flags[self.prefix - self._base :]
        size = max(len(self._flags), 2 * (end - self.prefix))
        self._flags = np.zeros(size, dtype=np.bool_)
        self._flags[: len(kept)] = kept[:size]
        self._base = self.prefix


def sizes(payloads: Sequence[bytes]) -> list[int]:
    return list(map(len, payloads))
