"""Record batches cut into groups of bounded size, at places that depend on the rows alone.

How rows come in batches depends on when parts were finished, so on crashes and on the speed of the
day. OUT must not: a group ends at the row that fills it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_LEVEL_BYTES = 4
_UNKNOWN_BYTES = 16  # for a value of a type that has no size here


class RowGroups:
    """Gathers batches, and gives groups of at most so many rows or bytes (or one row).

    A group is made of chunks, which end at places of the same kind: an encoder then needs memory
    for what it makes of a chunk, and not for what it makes of a group.
    """

    def __init__(
        self, schema: pa.Schema, *, group_bytes: int, group_rows: int, chunk_bytes: int
    ) -> None:
        self._schema = schema
        self._group_bytes = group_bytes
        self._group_rows = group_rows
        self._chunk_bytes = chunk_bytes
        self._chunks: list[pa.RecordBatch] = []
        self._bytes = 0
        self._rows = 0
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.Table]:
        """The groups that these rows fill."""
        sums = np.cumsum(row_bytes(batch))
        start = 0
        while start < batch.num_rows:
            before = int(sums[start - 1]) if start else 0
            room = min(self._group_bytes - self._bytes, self._chunk_bytes - self._pending_bytes)
            end = int(np.searchsorted(sums, before + room, side="right"))
            end = min(end, start + self._group_rows - self._rows)
            if end <= start:
                next_bytes = int(sums[start]) - before
                if self._rows and not self._has_room(next_bytes):
                    yield self._cut()
                    continue
                if self._pending:
                    self._close_chunk()
                    continue
                end = start + 1  # a row that is larger than a chunk, or a group
            self._pending.append(batch.slice(start, end - start))
            size_bytes = int(sums[end - 1]) - before
            self._pending_bytes += size_bytes
            self._bytes += size_bytes
            self._rows += end - start
            start = end

    def rest(self) -> pa.Table | None:
        return self._cut() if self._rows else None

    def _has_room(self, size_bytes: int) -> bool:
        return self._bytes + size_bytes <= self._group_bytes and self._rows < self._group_rows

    def _close_chunk(self) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending, self._schema)
        self._chunks += table.combine_chunks().to_batches()
        self._pending, self._pending_bytes = [], 0

    def _cut(self) -> pa.Table:
        self._close_chunk()
        table = pa.Table.from_batches(self._chunks, self._schema)
        self._chunks, self._bytes, self._rows = [], 0, 0
        return table


def row_bytes(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Bytes of each row's values, whatever the batch was cut from."""
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        sizes += _value_bytes(column)
    return sizes


def _value_bytes(array: pa.Array) -> NDArray[np.int64] | int:
    kind = array.type
    for is_kind, of_kind in _NESTED:
        if is_kind(kind):
            return of_kind(array)
    if any(is_text(kind) for is_text in _TEXTS):
        return _lengths(pc.binary_length(array)) + 4
    return _fixed_bytes(kind)


def _fixed_bytes(kind: pa.DataType) -> int:
    try:
        return max(int(kind.bit_width) // 8, 1)
    except ValueError:
        return _UNKNOWN_BYTES


def _lengths(lengths: pa.Array) -> NDArray[np.int64]:
    counted = pc.fill_null(lengths, 0).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return np.asarray(counted, np.int64)


def _of_fixed_lists(array: pa.FixedSizeListArray) -> int:
    # Parquet's writer holds four bytes of levels for each component, however small.
    return int(array.type.list_size) * max(_LEVEL_BYTES, _fixed_bytes(array.type.value_type))


def _of_structs(array: pa.StructArray) -> NDArray[np.int64]:
    sizes = np.zeros(len(array), np.int64)
    for child in array.flatten():
        sizes += _value_bytes(child)
    return sizes


def _of_lists(array: pa.Array) -> NDArray[np.int64]:
    lengths = _lengths(pc.list_value_length(array))
    ends = np.cumsum(lengths)
    sums = _sums(array.flatten())
    return np.asarray(sums[ends] - sums[ends - lengths] + 4, np.int64)


def _of_maps(array: pa.MapArray) -> NDArray[np.int64]:
    offsets = array.offsets.to_numpy(zero_copy_only=False)
    sums = _sums(array.keys) + _sums(array.items)
    sizes = sums[offsets[1:]] - sums[offsets[:-1]]
    is_valid = array.is_valid().to_numpy(zero_copy_only=False)
    return np.asarray(np.where(is_valid, sizes, 0) + 4, np.int64)


def _sums(values: pa.Array) -> NDArray[np.int64]:
    """Bytes before each value, and in the end of all."""
    sizes = np.zeros(len(values) + 1, np.int64)
    sizes[1:] = _value_bytes(values)
    return np.cumsum(sizes)


_NESTED: list[tuple[Callable[[pa.DataType], bool], Callable[[Any], NDArray[np.int64] | int]]] = [
    (pa.types.is_fixed_size_list, _of_fixed_lists),
    (pa.types.is_struct, _of_structs),
    (pa.types.is_list, _of_lists),
    (pa.types.is_large_list, _of_lists),
    (pa.types.is_map, _of_maps),
]
_TEXTS: list[Callable[[pa.DataType], bool]] = [
    pa.types.is_string,
    pa.types.is_binary,
    pa.types.is_large_string,
    pa.types.is_large_binary,
]
