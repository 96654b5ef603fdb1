"""The columns that the files of an input have in common."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from headrace_client.bulk.rows.columns import listed, require_column
from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.files.formats import Format
from headrace_client.bulk.rows.readers.reading import Reader
from headrace_client.bulk.rows.text.json_columns import field, type_name

_NUMBERS = {"int64", "double"}


def common_schema(readers: Sequence[Reader], types: Mapping[str, str]) -> pa.Schema:
    """Return the columns of all files, with the types that are given by name.

    Raises:
        InputError: Two files have different columns; it names both, and one column.
    """
    file_format = readers[0].file.format
    if file_format is Format.JSONL:
        return _objects(readers, types)
    for reader in readers[1:]:
        _check_same(readers[0], reader)
    schema = readers[0].schema
    if not types:
        return schema
    if file_format not in {Format.CSV, Format.TSV}:
        raise InputError(f"{file_format} has types of its own: leave out --column-type")
    for name in types:
        require_column(schema, name)
    return pa.schema([field(each.name, types.get(each.name, "string")) for each in schema])


def check_has(reader: Reader, name: str) -> None:
    """Raise ``InputError`` if a file's beginning does not show a column that is needed."""
    if name not in reader.schema.names:
        raise InputError(
            f"{reader.file.path} has no column {name!r}, as other files have: it has "
            f"{listed(reader.schema.names)}. Leave it out, or name files of one kind"
        )


def _objects(readers: Sequence[Reader], types: Mapping[str, str]) -> pa.Schema:
    found: dict[str, str] = {}
    where: dict[str, str] = {}
    for reader in readers:
        if found and not found.keys() & set(reader.schema.names):
            raise InputError(
                f"{readers[0].file.path} and {reader.file.path} have no column in common "
                f"({listed(list(found))}; {listed(reader.schema.names)}): name files of one kind"
            )
        for column in reader.schema:
            named = type_name(column)
            before = found.setdefault(column.name, named)
            where.setdefault(column.name, reader.file.path)
            if before != named and column.name not in types:
                if not {before, named} <= _NUMBERS:
                    raise InputError(
                        f"column {column.name!r} is {before} in {where[column.name]} and {named} "
                        f"in {reader.file.path}: name files of one kind, or give its type "
                        f"(--column-type {column.name}=string)"
                    )
                found[column.name] = "double"
    return pa.schema([field(name, named) for name, named in {**found, **types}.items()])


def _check_same(first: Reader, other: Reader) -> None:
    there = {each.name: each.type for each in first.schema}
    here = {each.name: each.type for each in other.schema}
    for name in [*there, *here]:
        if there.get(name) != here.get(name):
            raise InputError(
                f"{first.file.path} and {other.file.path} have different columns: {name!r} is "
                f"{there.get(name, 'missing')} in the first and {here.get(name, 'missing')} in the "
                "second. Name files of one kind, or write them again alike"
            )
