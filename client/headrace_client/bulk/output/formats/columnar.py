"""Parquet and Arrow IPC. A block is a record batch of OUT's schema."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace_client.bulk.output.answered import AnsweredRows
from headrace_client.bulk.output.files import FileSink
from headrace_client.bulk.output.formats.columns import OutColumns
from headrace_client.bulk.output.formats.file_format import ALL_ROWS, FileFormat
from headrace_client.bulk.output.formats.row_groups import RowGroups, row_bytes
from headrace_client.bulk.output.layout import MIB, Layout, VectorAnswers

_READ_ROWS = 1024
CHUNK_BYTES = 1 * MIB
"""What is encoded or read at a time."""


class _Encoder(Protocol):
    """pyarrow's writer of a format."""

    def write_table(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


class Columnar(ABC):
    """What both formats share."""

    suffix: str
    keeps_failed = False

    def __init__(self, layout: Layout) -> None:
        self.columns = OutColumns(layout)
        self._layout = layout
        self.parts: FileFormat = self

    def block(self, rows: AnsweredRows, dimensions: int | None) -> pa.RecordBatch:
        return self.columns.batch(rows, dimensions)

    def block_rows(self, block: pa.RecordBatch) -> int:
        return block.num_rows  # type: ignore[no-any-return]

    def block_bytes(self, block: pa.RecordBatch) -> int:
        return int(row_bytes(block).sum())

    def writer(self, sink: FileSink, dimensions: int | None) -> "TableWriter":
        schema = self.columns.schema(dimensions)
        group_bytes = self._group_bytes
        groups = RowGroups(
            schema,
            group_bytes=group_bytes,
            group_rows=self._layout.row_group_rows,
            chunk_bytes=min(CHUNK_BYTES, group_bytes),
        )
        spool = Spool(sink)
        return TableWriter(groups, self._encoder(spool, schema), spool)

    @property
    def _group_bytes(self) -> int:
        return self._layout.row_group_bytes

    @abstractmethod
    def dimensions(self, path: Path) -> int | None: ...

    @abstractmethod
    def check(self, path: Path, rows: int) -> None: ...

    @abstractmethod
    def _encoder(self, spool: "Spool", schema: pa.Schema) -> _Encoder: ...

    def reader(self, paths: Sequence[Path], dimensions: int | None) -> "BatchReader":
        return BatchReader(self._batches(paths), self.columns.schema(dimensions))

    @abstractmethod
    def _batches(self, paths: Sequence[Path]) -> Iterator[pa.RecordBatch]: ...

    def join(self, paths: Sequence[Path], sink: FileSink, dimensions: int | None) -> None:
        writer = self.writer(sink, dimensions)
        for batch in self.parts.reader(paths, dimensions).take(ALL_ROWS):
            writer.write(batch)
        writer.finish()


class Parquet(Columnar):
    """Parquet, whose parts are Arrow IPC files.

    Where row groups end must not depend on parts, so rows are encoded in the end in any case. To
    encode them twice would cost more than all the rest.
    """

    suffix = ".parquet"

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.parts = IpcParts(layout)

    def _encoder(self, spool: "Spool", schema: pa.Schema) -> _Encoder:
        answers = self._layout.answers
        fields = list(schema)
        carried, own = _leaves(fields[:-1]), _leaves(fields[-1:])
        as_vector = isinstance(answers, VectorAnswers)
        packed = isinstance(answers, VectorAnswers) and not answers.dtype.is_float
        return pq.ParquetWriter(  # type: ignore[no-any-return]
            spool,
            schema,
            # Parquet has no bytes: without a dictionary each would take four. Floats do not shrink.
            use_dictionary=[*carried, *own] if packed else carried,
            compression=dict.fromkeys(carried, "zstd")
            | dict.fromkeys(own, "none" if as_vector else "zstd"),
            write_statistics=carried,
        )

    def _batches(self, paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        for path in paths:
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for group in range(file.num_row_groups):
                    yield from file.iter_batches(_READ_ROWS, row_groups=[group], use_threads=False)

    def dimensions(self, path: Path) -> int | None:
        return vector_size(pq.read_schema(path), self._layout)

    def check(self, path: Path, rows: int) -> None:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows != rows:
                raise ValueError(f"it has {file.metadata.num_rows:,} rows, not {rows:,}")


class ArrowIpc(Columnar):
    suffix = ".arrow"

    def _encoder(self, spool: "Spool", schema: pa.Schema) -> _Encoder:
        return _IpcEncoder(spool, schema)

    def _batches(self, paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        for path in paths:
            with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as file:
                for place in range(file.num_record_batches):
                    yield file.get_batch(place)

    def dimensions(self, path: Path) -> int | None:
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as file:
            return vector_size(file.schema, self._layout)

    def check(self, path: Path, rows: int) -> None:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            counted = sum(file.get_batch(at).num_rows for at in range(file.num_record_batches))
        if counted != rows:
            raise ValueError(f"it has {counted:,} rows, not {rows:,}")


class IpcParts(ArrowIpc):
    """Parts of other formats, which nobody else reads."""

    def _encoder(self, spool: "Spool", schema: pa.Schema) -> _Encoder:
        return pa.ipc.new_file(spool, schema)  # type: ignore[no-any-return]

    @property
    def _group_bytes(self) -> int:
        # Whatever OUT has: nothing is gathered here, and nothing large is read again in the end.
        return min(CHUNK_BYTES, self._layout.row_group_bytes)


class _IpcEncoder:
    def __init__(self, spool: "Spool", schema: pa.Schema) -> None:
        self._writer = pa.ipc.new_file(spool, schema)

    def write_table(self, table: pa.Table) -> None:
        # Buffers are written as they are, with what they were cut from: a copy has only the rows.
        is_cut = table.column(0).num_chunks == 1
        self._writer.write_table(copied(table) if is_cut else table.combine_chunks())

    def close(self) -> None:
        self._writer.close()


class Spool:
    """The file as pyarrow's writers see it: it never fails.

    They write once more when they are thrown away, and what is raised then goes nowhere. So an
    error is kept, nothing is written after it, and ``check`` raises it.
    """

    closed = False

    def __init__(self, sink: FileSink) -> None:
        self._sink: FileSink | None = sink
        self._size = 0
        self._failure: Exception | None = None

    def write(self, data: Any) -> int:
        count = memoryview(data).nbytes
        self._size += count
        if self._sink is not None:
            try:
                self._sink.write(data)
            except Exception as error:  # noqa: BLE001 - `check` raises it
                self._failure, self._sink = error, None
        return count

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing: a sink holds nothing back."""

    def close(self) -> None:
        """Nothing: the file is not this object's."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def check(self) -> None:
        """Raise what went wrong since the last time."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def abandon(self) -> None:
        """Write nothing more."""
        self._sink = None


class TableWriter:
    """Writes a row group when it is full."""

    def __init__(self, groups: RowGroups, encoder: _Encoder, spool: Spool) -> None:
        self._groups = groups
        self._encoder = encoder
        self._spool = spool
        # What pyarrow has written by now: Parquet's magic.
        spool.check()

    def write(self, block: pa.RecordBatch) -> None:
        for table in self._groups.add(block):
            self._write(table)

    def finish(self) -> None:
        rest = self._groups.rest()
        if rest is not None:
            self._write(rest)
        self._encoder.close()
        self._spool.check()

    def abandon(self) -> None:
        self._spool.abandon()
        self._groups.rest()
        self._encoder.close()

    def _write(self, table: pa.Table) -> None:
        self._encoder.write_table(table)
        self._spool.check()


class BatchReader:
    """Record batches of OUT's schema, cut as they are asked for."""

    def __init__(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        self._batches = batches
        self._schema = schema
        self._batch: pa.RecordBatch | None = None
        self._at = 0

    def take(self, rows: int) -> Iterator[pa.RecordBatch]:
        while rows:
            if self._batch is None or self._at == self._batch.num_rows:
                batch = next(self._batches, None)
                if batch is None:
                    return
                # Names within a list's type are not compared, but they are written.
                self._batch, self._at = batch.cast(self._schema), 0
                continue
            piece = self._batch.slice(self._at, rows)
            self._at += piece.num_rows
            rows -= piece.num_rows
            yield piece


def copied(rows: Any) -> Any:
    """The same rows in memory of their own: a table or a record batch."""
    return rows.take(pa.array(np.arange(rows.num_rows)))


def vector_size(schema: pa.Schema, layout: Layout) -> int | None:
    """The length of the vectors in a file of this schema, if it has any."""
    if not isinstance(layout.answers, VectorAnswers):
        return None
    return schema.field(layout.answers.column).type.list_size or None


def _leaves(fields: list[pa.Field]) -> list[str]:
    """The paths of these fields' Parquet columns."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, pa.schema(fields)).close()
    schema = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [schema.column(place).path for place in range(len(schema))]
