"""CSV and TSV: the first record names the columns, all values are text unless a type is given."""

import csv
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from headrace_client.bulk.rows.errors import Fault, InputError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.files.formats import Format
from headrace_client.bulk.rows.readers.reading import (
    BATCH_BYTES,
    BATCH_ROWS,
    Chunk,
    Selection,
    record_batch,
)
from headrace_client.bulk.rows.rows import MISSING
from headrace_client.bulk.rows.text.json_columns import type_name
from headrace_client.bulk.rows.text.lines import (
    LONG_LINE,
    MAX_LINE_BYTES,
    SAMPLE_BYTES,
    read_blocks,
    read_sample,
)

_DELIMITERS = ",;\t|"
_BOOLS = {"true": True, "false": False, "1": True, "0": False}


class CsvReader:
    """Reads a file of records. Raises ``InputError`` if its first line names no columns."""

    def __init__(self, file: InputFile) -> None:
        # A process has one limit; the default is 128 KiB a field.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
        self.file = file
        self.rows: int | None = None
        lines = read_sample(file)
        if not any(line.strip() for line in lines):
            raise InputError(f"{file.path} is empty: leave it out, or write it again")
        _check_is_csv(file, lines)
        self._delimiter = "\t" if file.format is Format.TSV else _delimiter(lines[0])
        self._names = self._header()
        if len(lines) == 1 and len(lines[0]) < SAMPLE_BYTES:
            self.rows = 0
        self.schema = pa.schema([pa.field(name, pa.string()) for name in self._names])

    def read(self, selection: Selection, skipped: int) -> Iterator[Chunk]:
        records = _Records(self.file, self._delimiter)
        rows: list[list[str] | Fault] = []
        lines: list[int] = []
        first = skipped
        size = 0
        count = 0
        for line, fields in records.after_header():
            count += 1
            if count <= skipped:
                continue
            rows.append(fields)
            lines.append(line)
            size += 0 if isinstance(fields, Fault) else sum(map(len, fields))
            if len(rows) == BATCH_ROWS or size >= BATCH_BYTES:
                yield self._chunk(rows, lines, selection, first, records.bytes_read)
                first += len(rows)
                rows, lines, size = [], [], 0
        if rows:
            yield self._chunk(rows, lines, selection, first, records.bytes_read)
        self.rows = count

    def _header(self) -> list[str]:
        _, fields = next(_Records(self.file, self._delimiter).all())
        if isinstance(fields, Fault):
            raise InputError(
                f"{self.file.path}: its first line, which names columns, {fields.message}"
            )
        twice = sorted({name for name in fields if fields.count(name) > 1})
        if twice:
            raise InputError(
                f"{self.file.path}: its first line names column {twice[0]!r} twice: name each once"
            )
        return fields

    def _chunk(
        self,
        rows: Sequence[list[str] | Fault],
        lines: Sequence[int],
        selection: Selection,
        first: int,
        bytes_read: int,
    ) -> Chunk:
        faults: dict[int, Fault] = {}
        whole: list[list[str] | None] = []
        for index, fields in enumerate(rows):
            fault = fields if isinstance(fields, Fault) else self._count_fault(fields)
            if fault is not None:
                faults[index] = fault
            whole.append(None if fault is not None or isinstance(fields, Fault) else fields)
        arrays = []
        for column in selection.carried:
            place = self._names.index(column.name)
            values = [None if fields is None else fields[place] for fields in whole]
            array, unfit = _as_array(values, column)
            arrays.append(array)
            for index in unfit:
                faults.setdefault(index, _unfit(values[index], column))

        def values_of(name: str) -> list[Any]:
            place = self._names.index(name)
            return [MISSING if fields is None else fields[place] for fields in whole]

        return Chunk(
            first=first,
            carried=record_batch(arrays, selection.carried, len(rows)),
            values=values_of,
            faults=faults,
            lines=lines,
            bytes_read=bytes_read,
        )

    def _count_fault(self, fields: list[str]) -> Fault | None:
        if len(fields) == len(self._names):
            return None
        return Fault(
            "invalid_csv",
            f"has {len(fields)} fields, and the first line names {len(self._names)} columns: "
            "quote fields that hold the delimiter or a line's end",
        )


class _Records:
    """The records of a file, each with the line at which it begins."""

    def __init__(self, file: InputFile, delimiter: str) -> None:
        self._file = file
        self._delimiter = delimiter
        self._bad_lines: dict[int, Fault] = {}
        self.bytes_read = 0

    def after_header(self) -> Iterator[tuple[int, list[str] | Fault]]:
        records = self.all()
        next(records, None)
        return records

    def all(self) -> Iterator[tuple[int, list[str] | Fault]]:
        reader = csv.reader(self._lines(), delimiter=self._delimiter, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, Fault("invalid_csv", f"is no CSV record: {error}: look at its quotes")
                self._bad_lines.clear()
                continue
            if self._bad_lines:
                fault = next(iter(self._bad_lines.values()))
                self._bad_lines.clear()
                yield line, fault
            elif fields:
                yield line, fields

    def _lines(self) -> Iterator[str]:
        for block in read_blocks(self._file):
            self.bytes_read = block.bytes_read
            for number, line in enumerate(block.lines, block.first_line):
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    text = line.decode(errors="replace")
                    self._bad_lines[number] = Fault(
                        "invalid_utf8",
                        f"byte {error.start + 1} of line {number} is not UTF-8: {error.reason}",
                    )
                if line is LONG_LINE:
                    self._bad_lines[number] = Fault(
                        "too_large",
                        f"line {number} is over {MAX_LINE_BYTES:,} bytes, so it was not read",
                    )
                # A line's end inside quotes belongs to the field.
                yield f"{text}\n"


def _check_is_csv(file: InputFile, lines: list[bytes]) -> None:
    if any(b"\0" in line for line in lines):
        raise InputError(f"{file.path} is not text: there are zero bytes in its first lines")
    try:
        is_json = isinstance(orjson.loads(lines[0]), dict)
    except orjson.JSONDecodeError:
        return
    if is_json:
        raise InputError(
            f"{file.path} is not {file.format}: its first line is a JSON object; rename it to "
            "….jsonl, or name its format by --format jsonl"
        )


def _delimiter(header: bytes) -> str:
    """The first of the usual delimiters that stands in the first line; a comma if none does."""
    text = header.decode(errors="replace")
    return next((each for each in _DELIMITERS if each in text), ",")


def _as_array(values: Sequence[str | None], column: pa.Field) -> tuple[pa.Array, list[int]]:
    named = type_name(column)
    if named in {"string", "json"}:
        return pa.array(values, column.type), []
    parsed: list[Any] = []
    unfit: list[int] = []
    for index, value in enumerate(values):
        fits, result = (True, None) if not value else _parsed(value, named)
        if not fits:
            unfit.append(index)
        parsed.append(result)
    return pa.array(parsed, column.type), unfit


def _parsed(value: str, named: str) -> tuple[bool, Any]:
    if named == "bool":
        known = _BOOLS.get(value.strip().lower())
        return known is not None, known
    try:
        number = int(value) if named == "int64" else float(value)
    except ValueError:
        return False, None
    fits = named == "double" or -(1 << 63) <= number < 1 << 63
    return fits, number if fits else None


def _unfit(value: str | None, column: pa.Field) -> Fault:
    return Fault(
        "not_carried",
        f"column {column.name!r} is {value!r:.80} here, and no {type_name(column)}: carry it as "
        f"text (--column-type {column.name}=string), or do not carry it along",
    )
