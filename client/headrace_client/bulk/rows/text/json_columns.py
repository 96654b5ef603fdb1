"""Columns out of JSON objects: their types by a sample, and values that do not fit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from headrace_client.bulk.rows.errors import InputError

JSON_METADATA = {b"headrace": b"json"}
"""Marks a column whose every value is JSON text, of objects or lists in the input."""
TYPES: Mapping[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    "json": pa.string(),
}
"""Types that a column may have by name."""
_TYPE_OF = {bool: "bool", int: "int64", float: "double", str: "string", dict: "json", list: "json"}
_EXACT = 1 << 53
_FITTING: Mapping[str, frozenset[type]] = {
    "bool": frozenset({bool}),
    "int64": frozenset({int}),
    "double": frozenset({int, float}),
    "string": frozenset({str}),
    "json": frozenset(),
}


def sampled_types(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the type of each key, in the order in which they come.

    A key whose values have several types is ``string``, and so is one that is always null.
    """
    seen: dict[str, set[str]] = {}
    for record in records:
        for name, value in record.items():
            types = seen.setdefault(name, set())
            if value is not None:
                types.add(_type_of(value))
    return {name: _one_type(types) for name, types in seen.items()}


def field(name: str, type_name: str) -> pa.Field:
    """Return a column. Raises ``InputError`` for a type that there is not."""
    if type_name not in TYPES:
        raise InputError(f"column {name!r}: there is no type {type_name!r}: use {', '.join(TYPES)}")
    metadata = JSON_METADATA if type_name == "json" else None
    return pa.field(name, TYPES[type_name], metadata=metadata)


def type_name(column: pa.Field) -> str:
    """Return the name of a column's type, which ``field`` takes."""
    if column.metadata == JSON_METADATA:
        return "json"
    return next(name for name, each in TYPES.items() if each == column.type)


def as_array(values: Sequence[Any], column: pa.Field) -> tuple[pa.Array, list[int]]:
    """Return values as a column, and the indexes of those that do not fit, which are null there.

    Nothing is rounded or cut to fit. Text takes anything: what is no text is its JSON.
    """
    named = type_name(column)
    types = set(map(type, values))
    types.discard(type(None))
    if types <= _FITTING[named]:
        try:
            # It refuses integers that a type does not hold exactly.
            return pa.array(values, column.type), []
        except (OverflowError, pa.ArrowInvalid):
            pass
    converted: list[Any] = []
    unfit: list[int] = []
    for index, value in enumerate(values):
        fits, result = (True, None) if value is None else _fitted(value, named)
        if not fits:
            unfit.append(index)
        converted.append(result)
    return pa.array(converted, column.type), unfit


def _type_of(value: Any) -> str:
    named = _TYPE_OF[type(value)]
    if named == "int64" and not -(1 << 63) <= value < 1 << 63:
        return "string"
    return named


def _one_type(types: set[str]) -> str:
    if types == {"int64", "double"}:
        return "double"
    return types.pop() if len(types) == 1 else "string"


def _fitted(value: Any, named: str) -> tuple[bool, Any]:
    kind = type(value)
    if named == "json" or (named == "string" and kind is not str):
        return True, orjson.dumps(value).decode()
    if named == "int64" and kind is int:
        fits = -(1 << 63) <= value < 1 << 63
        return fits, value if fits else None
    if named == "double" and kind is int:
        fits = abs(value) <= _EXACT
        return fits, float(value) if fits else None
    fits = kind in _FITTING[named]
    return fits, value if fits else None
