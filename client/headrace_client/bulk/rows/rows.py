"""A batch of rows as read, before anything is made of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from headrace_client.bulk.rows.errors import RowFailure


class Missing:
    """The value of a column that a JSON object does not have."""

    def __repr__(self) -> str:
        return "missing"


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class InvalidText:
    """The value of a text that is not UTF-8."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Consecutive rows of one file.

    Attributes:
        first_row: The number of the first row, from 0 over all files.
        carried: The columns to carry along, a record batch of as many rows. A row that could not
            be read is null in all of them.
        failures: Rows that could not be read, by row number.
        bytes_read: Bytes of the input files up to the end of this batch, as stored.
        place: Says where a row is, by its number: the file and the line or row in it.
        values: Gives a needed column as Python values. A row that could not be read, or does not
            have the column, is ``MISSING``; a text that is not UTF-8 is ``InvalidText``.
    """

    first_row: int
    carried: pa.RecordBatch
    failures: Mapping[int, RowFailure] = field(default_factory=dict)
    bytes_read: int
    place: Callable[[int], str]
    values: Callable[[str], list[Any]]

    @property
    def end_row(self) -> int:
        """The number after that of the last row."""
        return self.first_row + int(self.carried.num_rows)

    def __len__(self) -> int:
        return int(self.carried.num_rows)
