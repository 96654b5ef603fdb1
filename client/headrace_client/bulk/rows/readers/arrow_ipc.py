"""Arrow IPC, as files (Feather) and as streams.

A record batch is what such a file is read by. One that is compressed, or not on this machine, is
in memory as a whole; of an uncompressed local file only the pages in use are.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import pyarrow as pa

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.readers.arrow_batches import chunks, plain_schema
from headrace_client.bulk.rows.readers.reading import Chunk, Selection
from headrace_client.bulk.rows.text.streams import CountedBytes

FILE_MAGIC = b"ARROW1"
_READ_AHEAD_BYTES = 4 << 20


def arrow_reader(file: InputFile) -> "ArrowFileReader | ArrowStreamReader":
    """Return the reader of a file or a stream, whichever it is. Raises ``InputError``."""
    with file.open() as raw:
        is_file = raw.read(len(FILE_MAGIC)) == FILE_MAGIC
    if is_file and file.size is not None:
        return ArrowFileReader(file)
    if is_file:
        raise InputError(
            "standard input is an Arrow file, which is read from its end: name the file, or write "
            "a stream (pyarrow.ipc.new_stream)"
        )
    return ArrowStreamReader(file)


class ArrowFileReader:
    """Reads a file of record batches. Raises ``InputError`` if its end is not there."""

    def __init__(self, file: InputFile) -> None:
        self.file = file
        with _explained(file), _Opened(file) as opened:
            self.schema = plain_schema(opened.schema, file)
            self._batch_rows = _batch_rows(opened)
        self.rows: int | None = sum(self._batch_rows)

    def read(self, selection: Selection, skipped: int) -> Iterator[Chunk]:
        first = 0
        share = (self.file.size or 0) / max(1, self.rows or 0)
        with _explained(self.file), _Opened(self.file) as opened:
            batches = opened.batches(selection.names)
            for number, rows in enumerate(self._batch_rows):
                if first + rows > skipped:
                    unwanted = max(0, skipped - first)
                    batch = batches.get_batch(number).slice(unwanted)
                    bytes_read = int((first + rows) * share)
                    for chunk in chunks(batch, selection, first + unwanted, bytes_read):
                        yield chunk
                        opened.release_pages()
                first += rows


class ArrowStreamReader:
    """Reads a stream of record batches. Raises ``InputError`` if it does not begin as one."""

    def __init__(self, file: InputFile) -> None:
        self.file = file
        self.rows: int | None = None
        with _explained(file), file.open() as raw:
            opened = pa.ipc.open_stream(pa.PythonFile(raw, mode="r"))
            self.schema = plain_schema(opened.schema, file)

    def read(self, selection: Selection, skipped: int) -> Iterator[Chunk]:
        first = 0
        raw = CountedBytes(self.file.open(_READ_AHEAD_BYTES))
        try:
            with _explained(self.file):
                opened = pa.ipc.open_stream(pa.PythonFile(raw, mode="r"))
                for batch in opened:
                    unwanted = min(batch.num_rows, max(0, skipped - first))
                    yield from chunks(
                        batch.slice(unwanted), selection, first + unwanted, raw.bytes_read
                    )
                    first += batch.num_rows
        finally:
            raw.close()
        self.rows = first


class _Opened:
    """A file of record batches: mapped if it is local, read through its file system elsewhere."""

    def __init__(self, file: InputFile) -> None:
        self._raw = file.open()
        self._map: mmap.mmap | None = None
        self._source: Any = pa.PythonFile(self._raw, mode="r")
        if file.is_local:
            self._map = mmap.mmap(self._raw.fileno(), 0, access=mmap.ACCESS_READ)
            self._source = pa.py_buffer(self._map)
        self._all: pa.ipc.RecordBatchFileReader = pa.ipc.open_file(self._source)
        self._is_in_place = self._map is not None and self._lies_in_map()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Batches that are still in use keep the map.
        self._raw.close()

    @property
    def schema(self) -> pa.Schema:
        return self._all.schema

    def batches(self, names: Sequence[str]) -> pa.ipc.RecordBatchFileReader:
        """Return the reader of some columns; of others it may read nothing."""
        if self._is_in_place:
            # To choose columns is to copy them.
            return self._all
        fields = [self.schema.get_field_index(name) for name in names]
        return pa.ipc.open_file(
            self._source, options=pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        )

    def release_pages(self) -> None:
        """Give pages back that were read; those still in use come back by themselves."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)

    def _lies_in_map(self) -> bool:
        """Whether batches are where the file is mapped, and not decompressed from there."""
        if not self._all.num_record_batches:
            return False
        buffers = [each for each in self._all.get_batch(0).column(0).buffers() if each is not None]
        start, end = self._source.address, self._source.address + self._source.size
        return all(start <= each.address < end for each in buffers if each.size)


def _batch_rows(opened: _Opened) -> list[int]:
    schema = opened.schema
    # One column tells how many rows there are; numbers are smaller than texts.
    narrow = next((each for each in schema if pa.types.is_primitive(each.type)), schema.field(0))
    batches = opened.batches([narrow.name])
    rows = []
    for number in range(batches.num_record_batches):
        rows.append(batches.get_batch(number).num_rows)
        opened.release_pages()
    return rows


@contextmanager
def _explained(file: InputFile) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        first_line = str(error).partition("\n")[0]
        raise InputError(
            f"{file.path} cannot be read as Arrow IPC: {first_line}; if it was cut short, copy or "
            "write it again"
        ) from None
