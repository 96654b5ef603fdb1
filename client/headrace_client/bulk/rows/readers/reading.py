"""What every reader of a file gives."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from headrace_client.bulk.rows.errors import Fault
from headrace_client.bulk.rows.files.finding import InputFile

BATCH_ROWS = 2048
BATCH_BYTES = 4 << 20
"""About how many a batch has; a batch has one row at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive rows of one file.

    Attributes:
        first: The number of the first row in the file, from 0.
        carried: The carried columns.
        values: Gives a needed column as Python values; see ``Rows``.
        faults: By index in the chunk.
        lines: The line of each row, from 1; ``None`` if the format has none.
        bytes_read: Bytes of the file, as stored, up to the end of this chunk.
    """

    first: int
    carried: pa.RecordBatch
    values: Callable[[str], list[Any]]
    faults: Mapping[int, Fault] = field(default_factory=dict)
    lines: Sequence[int] | None = None
    bytes_read: int


def record_batch(arrays: Sequence[pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    """Return a batch that has its rows even if it has no columns."""
    if not arrays:
        return pa.record_batch({"": pa.nulls(rows)}).select([])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which columns are read.

    Attributes:
        needed: Those from which requests are made.
        carried: Those that go along, with the types that they shall have.
    """

    needed: tuple[str, ...]
    carried: pa.Schema

    @property
    def names(self) -> list[str]:
        """Every column that is read, once."""
        return list(dict.fromkeys([*self.needed, *self.carried.names]))


class Reader(Protocol):
    """One file, whose beginning (or end) was looked at."""

    @property
    def file(self) -> InputFile: ...

    @property
    def schema(self) -> pa.Schema:
        """All columns; of text formats, as far as the beginning shows them."""

    @property
    def rows(self) -> int | None:
        """How many rows it has; of some formats known only when all are read."""

    def read(self, selection: Selection, skipped: int) -> Iterator[Chunk]:
        """Read the rows after the first ``skipped``; none if there are fewer.

        Raises:
            InputError: The file breaks off.
        """
