"""JSONL: one object a line. Blank lines are no rows."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pyarrow as pa

from headrace_client.bulk.rows.errors import Fault, InputError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.readers.reading import (
    BATCH_ROWS,
    Chunk,
    Selection,
    record_batch,
)
from headrace_client.bulk.rows.rows import MISSING
from headrace_client.bulk.rows.text.json_columns import as_array, field, sampled_types, type_name
from headrace_client.bulk.rows.text.lines import LONG_LINE, MAX_LINE_BYTES, read_blocks, read_sample

_SHOWN_CHARACTERS = 60


class JsonlReader:
    """Reads a file of JSON objects.

    Raises ``InputError`` if its first lines are none.
    """

    def __init__(self, file: InputFile) -> None:
        self.file = file
        self.rows: int | None = None
        lines = [each for each in read_sample(file) if each.strip()]
        if not lines and not file.size:
            raise InputError(f"{file.path} is empty: leave it out, or write it again")
        if not lines:
            raise InputError(f"{file.path} has only blank lines: leave it out, or write it again")
        records = [each for each in map(_record, lines) if isinstance(each, dict)]
        if not records:
            raise InputError(_no_jsonl(file, lines[0]))
        self.schema = pa.schema(
            [field(name, named) for name, named in sampled_types(records).items()]
        )

    def read(self, selection: Selection, skipped: int) -> Iterator[Chunk]:
        first = 0
        for block in read_blocks(self.file):
            lines, numbers = _without_blanks(block.lines, block.first_line)
            start = min(max(skipped - first, 0), len(lines))
            first += start
            for low in range(start, len(lines), BATCH_ROWS):
                some = lines[low : low + BATCH_ROWS]
                yield _chunk(
                    some, numbers[low : low + BATCH_ROWS], selection, first, block.bytes_read
                )
                first += len(some)
        self.rows = first


def _without_blanks(lines: list[bytes], first_line: int) -> tuple[list[bytes], list[int]]:
    numbers: list[int] = []
    rows: list[bytes] = []
    for number, line in enumerate(lines, first_line):
        if line is LONG_LINE or (line and not line.isspace()):
            rows.append(line)
            numbers.append(number)
    return rows, numbers


def _chunk(
    lines: list[bytes], numbers: list[int], selection: Selection, first: int, bytes_read: int
) -> Chunk:
    records: list[Mapping[str, Any]] = []
    faults: dict[int, Fault] = {}
    for index, line in enumerate(lines):
        record = _record(line)
        if isinstance(record, Fault):
            faults[index] = record
            record = {}
        records.append(record)
    arrays = []
    for column in selection.carried:
        values = [record.get(column.name) for record in records]
        array, unfit = as_array(values, column)
        arrays.append(array)
        for index in unfit:
            faults.setdefault(index, _unfit(values[index], column))

    def values_of(name: str) -> list[Any]:
        return [record.get(name, MISSING) for record in records]

    return Chunk(
        first=first,
        carried=record_batch(arrays, selection.carried, len(lines)),
        values=values_of,
        faults=faults,
        lines=numbers,
        bytes_read=bytes_read,
    )


def _record(line: bytes) -> dict[str, Any] | Fault:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _unreadable(line, error)
    if type(value) is dict:
        return value
    return Fault("invalid_json", f"is {_named(value)}, not a JSON object with columns as its keys")


def _unreadable(line: bytes, error: orjson.JSONDecodeError) -> Fault:
    if line is LONG_LINE:
        return Fault("too_large", f"the line is over {MAX_LINE_BYTES:,} bytes, so it was not read")
    try:
        line.decode()
    except UnicodeDecodeError as no_text:
        return Fault(
            "invalid_utf8", f"byte {no_text.start + 1} of the line is not UTF-8: {no_text.reason}"
        )
    return Fault("invalid_json", f"is not JSON: {error.msg} at column {error.colno}")


def _named(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    return f"the bare value {_short(orjson.dumps(value).decode())}"


def _unfit(value: Any, column: pa.Field) -> Fault:
    shown = _short(orjson.dumps(value).decode())
    return Fault(
        "not_carried",
        f"column {column.name!r} is {shown} here, and {type_name(column)} at the beginning of the "
        f"input: give its type (--column-type {column.name}=string), or do not carry it along",
    )


def _no_jsonl(file: InputFile, line: bytes) -> str:
    begun = line.lstrip()[:1]
    if begun == b"[":
        return (
            f"{file.path} holds a JSON list, not an object a line: write it as lines (jq -c '.[]')"
        )
    if line.strip() == b"{":
        return (
            f"{file.path} holds JSON over several lines, not an object a line: write each object "
            "on a line of its own (jq -c .)"
        )
    shown = _short(line.decode(errors="replace"))
    return (
        f"{file.path} is not JSONL: none of its first lines is a JSON object; the first is "
        f"{shown!r}. Name its format by --format"
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
