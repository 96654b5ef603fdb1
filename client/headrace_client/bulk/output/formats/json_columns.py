"""Columns of a record batch as JSON."""

import base64
import datetime as dt
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def json_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """A dictionary for each row, of values that ``as_json`` takes."""
    if not batch.num_columns:
        return [{} for _ in range(batch.num_rows)]
    columns = [_values(column) for column in batch.columns]
    names = batch.schema.names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def as_json(value: Any) -> bytes:
    """JSON of a row; bytes are written in base64, decimals and spans of time as text."""
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except TypeError:
        # Numbers over 64 bits and lone surrogates: rare, so they may cost a second look.
        return orjson.dumps(_within_json(value), default=_plain, option=_OPTIONS)


def _values(column: pa.Array) -> list[Any]:
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        # Times that Python cannot hold: nanoseconds, years over 9999.
        return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    match value:
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case Decimal() | dt.timedelta():
            return str(value)
        case set() | tuple():
            return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


def _within_json(value: Any) -> Any:
    match value:
        case dict():
            return {_within_json(key): _within_json(each) for key, each in value.items()}
        case list() | tuple():
            return [_within_json(each) for each in value]
        case bool():
            return value
        case int() if not -(1 << 63) <= value < 1 << 64:
            return str(value)
        case str():
            return value.encode("utf-8", "replace").decode()
    return value
