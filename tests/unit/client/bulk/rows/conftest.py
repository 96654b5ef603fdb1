"""Files of rows in every format, and what a source reads of them."""

import csv
import gzip
import io
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace_client.bulk.rows.rows import Rows
from headrace_client.bulk.rows.source import Source

Row = Mapping[str, Any]


def encoded(rows: Sequence[Row], suffix: str) -> bytes:
    """Rows as a file's bytes, by its suffix (``.csv.gz``)."""
    format_suffix, _, compression = suffix.removeprefix(".").partition(".")
    data = _ENCODERS[format_suffix](rows)
    if compression == "gz":
        # Two members, as pigz and log rotation write them.
        half = len(data) // 2
        return gzip.compress(data[:half]) + gzip.compress(data[half:])
    if compression == "zst":
        compressed: bytes = pa.compress(data, "zstd", asbytes=True)
        return compressed
    return data


def _jsonl(rows: Sequence[Row]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def _separated(delimiter: str) -> Callable[[Sequence[Row]], bytes]:
    def encode(rows: Sequence[Row]) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    return encode


def _parquet(rows: Sequence[Row]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink, row_group_size=7)
    return sink.getvalue()


def _arrow(compression: str | None = None) -> Callable[[Sequence[Row]], bytes]:
    def encode(rows: Sequence[Row]) -> bytes:
        table = pa.Table.from_pylist(list(rows))
        sink = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=7)
        return sink.getvalue()

    return encode


def _arrow_stream(rows: Sequence[Row]) -> bytes:
    table = pa.Table.from_pylist(list(rows))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return sink.getvalue()


def _text(rows: Sequence[Row]) -> bytes:
    return b"".join(row["text"].encode() + b"\n" for row in rows)


_ENCODERS: Mapping[str, Callable[[Sequence[Row]], bytes]] = {
    "jsonl": _jsonl,
    "csv": _separated(","),
    "tsv": _separated("\t"),
    "parquet": _parquet,
    "arrow": _arrow(),
    "feather": _arrow("zstd"),
    "arrows": _arrow_stream,
    "txt": _text,
}


@pytest.fixture
def encode() -> Callable[[Sequence[Row], str], bytes]:
    return encoded


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows to a file under ``tmp_path``; a ``.lance`` name is a dataset."""

    def write(name: str, rows: Sequence[Row], *, files: int = 3) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".lance"):
            lance = import_module("lance")
            table = pa.Table.from_pylist(list(rows))
            lance.write_dataset(table, str(path), max_rows_per_file=-(-len(rows) // files))
        else:
            path.write_bytes(encoded(rows, "".join(path.suffixes)))
        return path

    return write


def read(source: Source, column: str = "text", start_row: int = 0) -> list[Any]:
    """The values of a column, after checking that rows are numbered without a gap."""
    selected = source.select(needed=[column])
    values: list[Any] = []
    row = start_row
    for rows in selected.batches(start_row):
        assert rows.first_row == row
        assert len(rows) > 0
        row = rows.end_row
        assert len(rows.values(column)) == len(rows)
        values += rows.values(column)
    return values


@pytest.fixture
def read_column() -> Callable[..., list[Any]]:
    return read


@pytest.fixture
def as_rows() -> Callable[..., Rows]:
    """Rows out of columns of Python values, as a source gives them."""

    def make(columns: Mapping[str, list[Any]], first_row: int = 0) -> Rows:
        count = len(next(iter(columns.values())))
        return Rows(
            first_row=first_row,
            carried=pa.RecordBatch.from_pydict({"row": list(range(count))}),
            bytes_read=0,
            place=lambda row: f"here, row {row}",
            values=lambda name: columns[name],
        )

    return make
