"""The input of a job: files, opened and checked, and their rows in order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Self

import pyarrow as pa

from headrace_client.bulk.rows.rows import Rows


class Source:
    """Files of one format, read as one sequence of rows, numbered from 0."""

    schema: pa.Schema
    """All columns; after ``select``, those that are carried."""
    rows_total: int | None
    """Rows of all files, where their metadata say so."""
    bytes_total: int | None
    """Bytes of all files as stored; ``None`` for standard input."""
    fingerprints: tuple[dict[str, Any], ...]
    """One for each file, as JSON values, for the manifest."""

    @classmethod
    def open(
        cls,
        paths: Sequence[str],
        *,
        format: str | None = None,  # noqa: A002 - the flag's name
        storage_options: Mapping[str, Any] | None = None,
        stdin: BinaryIO | None = None,
        column_types: Mapping[str, str] | None = None,
    ) -> Self:
        """Find the files, check each of them, and learn their columns. Raises ``InputError``."""
        raise NotImplementedError

    def select(self, *, needed: Sequence[str], carried: Sequence[str] | None) -> Self:
        """Return a source that reads these columns only; ``carried=None`` carries all.

        Raises ``InputError`` for a column that is not there.
        """
        raise NotImplementedError

    def check_unchanged(self, before: Sequence[Mapping[str, Any]]) -> None:
        """Compare with the fingerprints of the job's beginning. Raises ``InputChangedError``."""
        raise NotImplementedError

    def batches(self, start_row: int = 0) -> Iterator[Rows]:
        """Read rows from ``start_row`` on. Raises ``InputError`` where a file breaks off."""
        raise NotImplementedError
