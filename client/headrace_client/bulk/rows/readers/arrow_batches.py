"""What Parquet, Arrow and Lance have in common: record batches, cut small."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.readers.reading import (
    BATCH_BYTES,
    BATCH_ROWS,
    Chunk,
    Selection,
    record_batch,
)
from headrace_client.bulk.rows.rows import InvalidText


def plain_schema(schema: pa.Schema, file: InputFile) -> pa.Schema:
    """Return a schema without metadata, and without dictionaries.

    Each file has its own dictionaries, so they are no part of what files have in common. Raises
    ``InputError`` if two columns have the same name.
    """
    names = schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{file.path} has two columns named {twice[0]!r}: rename one of them")
    return pa.schema([pa.field(each.name, _plain_type(each.type)) for each in schema])


def rows_at_once(rows: int, size: int) -> int:
    """Return how many rows a batch has, if ``rows`` of them are ``size`` bytes."""
    if not rows or not size:
        return BATCH_ROWS
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // size))


def chunks(
    batch: pa.RecordBatch, selection: Selection, first: int, bytes_read: int
) -> Iterator[Chunk]:
    """Cut a batch, whose first row is the file's row ``first``."""
    at_once = rows_at_once(batch.num_rows, batch.nbytes)
    for low in range(0, batch.num_rows, at_once):
        yield _chunk(batch.slice(low, at_once), selection, first + low, bytes_read)


def decoded_bytes(batch: pa.RecordBatch) -> int:
    """Return what a batch takes without its dictionaries."""
    return sum(int(_plain(column).nbytes) for column in batch.columns)


def _chunk(batch: pa.RecordBatch, selection: Selection, first: int, bytes_read: int) -> Chunk:
    columns = {
        name: _plain(batch.column(batch.schema.get_field_index(name))) for name in selection.names
    }

    def values_of(name: str) -> list[Any]:
        return _values(columns[name])

    return Chunk(
        first=first,
        carried=record_batch(
            [columns[each.name].cast(each.type) for each in selection.carried],
            selection.carried,
            batch.num_rows,
        ),
        values=values_of,
        bytes_read=bytes_read,
    )


def _values(array: pa.Array) -> list[Any]:
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        return [None if each is None else _text(each) for each in array.to_pylist()]
    try:
        values: list[Any] = array.to_pylist()
    except UnicodeDecodeError:
        return [_value(each) for each in array]
    return values


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return InvalidText(f"byte {error.start + 1} is not UTF-8: {error.reason}")


def _text(value: bytes) -> str | InvalidText:
    """Some writers store texts as bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        return InvalidText(f"byte {error.start + 1} is not UTF-8: {error.reason}")


def _plain_type(data_type: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(data_type):
        return data_type.value_type
    if pa.types.is_string_view(data_type):
        return pa.string()
    return data_type


def _plain(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    if pa.types.is_string_view(array.type):
        return array.cast(pa.string())
    return array
