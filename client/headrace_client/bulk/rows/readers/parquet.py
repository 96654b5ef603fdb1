"""Parquet: pages are read as they come, so that a row group of any size takes no memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.readers.arrow_batches import (
    chunks,
    decoded_bytes,
    plain_schema,
    rows_at_once,
)
from headrace_client.bulk.rows.readers.reading import Chunk, Selection

READ_AT_ONCE_BYTES = 1 << 20
"""Of each column."""
_TRIED_ROWS = 32
_MAGIC = b"PAR1"


class ParquetReader:
    """Reads a file of row groups. Raises ``InputError`` if its end is not there."""

    def __init__(self, file: InputFile) -> None:
        self.file = file
        with file.open() as raw:
            _check_end(file, raw)
            with _explained(file, "its end"):
                opened = _parquet_file(raw)
                metadata = opened.metadata
                self.schema = plain_schema(opened.schema_arrow, file)
                self._group_rows = [
                    metadata.row_group(each).num_rows for each in range(metadata.num_row_groups)
                ]
        self.rows: int | None = sum(self._group_rows)

    def read(self, selection: Selection, skipped: int) -> Iterator[Chunk]:
        first = 0
        with self.file.open() as raw:
            with _explained(self.file, "its end"):
                opened = _parquet_file(raw)
            for group, rows in enumerate(self._group_rows):
                if first + rows <= skipped:
                    first += rows
                    continue
                yield from self._read_group(opened, group, selection, first, skipped)
                first += rows

    def _read_group(
        self, opened: pq.ParquetFile, group: int, selection: Selection, first: int, skipped: int
    ) -> Iterator[Chunk]:
        share = (self.file.size or 0) / max(1, self.rows or 0)
        with _explained(self.file, f"row group {group}"):
            for batch in _batches(
                opened, group, selection, _rows_at_once(opened, group, selection)
            ):
                end = first + batch.num_rows
                if end > skipped:
                    unwanted = max(0, skipped - first)
                    yield from chunks(
                        batch.slice(unwanted), selection, first + unwanted, int(end * share)
                    )
                first = end


def _parquet_file(raw: BinaryIO) -> pq.ParquetFile:
    # Without a buffer, or with reading ahead, all of a row group's columns would be in memory.
    return pq.ParquetFile(
        pa.PythonFile(raw, mode="r"), buffer_size=READ_AT_ONCE_BYTES, pre_buffer=False
    )


def _batches(
    opened: pq.ParquetFile, group: int, selection: Selection, rows: int
) -> Iterator[pa.RecordBatch]:
    batches: Iterator[pa.RecordBatch] = opened.iter_batches(
        batch_size=rows, row_groups=[group], columns=selection.names, use_threads=False
    )
    return batches


def _rows_at_once(opened: pq.ParquetFile, group: int, selection: Selection) -> int:
    """Return how many rows of a row group a batch has.

    Pages with a dictionary are small in the file, however long the texts in it are. So the first
    rows are tried.
    """
    metadata = opened.metadata.row_group(group)
    rows = int(metadata.num_rows)
    size = sum(
        metadata.column(each).total_uncompressed_size
        for each in range(metadata.num_columns)
        if metadata.column(each).path_in_schema.partition(".")[0] in selection.names
    )
    if rows <= _TRIED_ROWS:
        return max(1, rows)
    tried = next(_batches(opened, group, selection, _TRIED_ROWS))
    return min(rows_at_once(rows, size), rows_at_once(tried.num_rows, decoded_bytes(tried)))


def _check_end(file: InputFile, raw: BinaryIO) -> None:
    size = file.size or 0
    raw.seek(max(0, size - len(_MAGIC)))
    if raw.read(len(_MAGIC)) != _MAGIC or size < 3 * len(_MAGIC):
        raise InputError(
            f"{file.path} is cut short: a Parquet file ends in PAR1, and this one ({size:,} bytes) "
            "does not; copy or write it again"
        )
    raw.seek(0)


@contextmanager
def _explained(file: InputFile, part: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{file.path}: {part} cannot be read: {_first_line(error)}; write the file again"
        ) from None


def _first_line(error: Any) -> str:
    return str(error).partition("\n")[0]
