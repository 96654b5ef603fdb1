"""The input of a job: files, opened and checked, and their rows in order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Self

import pyarrow as pa

from headrace_client.bulk.rows.columns import require_column
from headrace_client.bulk.rows.errors import InputError, RowFailure
from headrace_client.bulk.rows.files.finding import STANDARD_INPUT, find_files
from headrace_client.bulk.rows.files.fingerprints import Fingerprint, check_unchanged, fingerprint
from headrace_client.bulk.rows.files.formats import Format
from headrace_client.bulk.rows.files.standard_input import StandardInput, standard_input_file
from headrace_client.bulk.rows.readers.opening import open_reader
from headrace_client.bulk.rows.readers.reading import Chunk, Reader, Selection
from headrace_client.bulk.rows.readers.schemas import check_has, common_schema
from headrace_client.bulk.rows.rows import Rows
from headrace_client.bulk.rows.text.json_columns import type_name

_OPENED_AT_ONCE = 8


class Source:
    """Files of one format, read as one sequence of rows, numbered from 0."""

    def __init__(
        self,
        readers: Sequence[Reader],
        schema: pa.Schema,
        fingerprints: Sequence[Fingerprint],
        selection: Selection,
        standard_input: StandardInput | None,
    ) -> None:
        self._readers = readers
        self._schema = schema
        self._selection = selection
        self._standard_input = standard_input
        self.fingerprints = tuple(fingerprints)

    @classmethod
    def open(
        cls,
        paths: Sequence[str],
        *,
        format: str | None = None,  # noqa: A002 - the flag's name
        storage_options: Mapping[str, Any] | None = None,
        stdin: BinaryIO | None = None,
        column_types: Mapping[str, str] | None = None,
        before: Sequence[Mapping[str, Any]] | None = None,
    ) -> Self:
        """Find the files, check each of them, and learn their columns.

        Args:
            paths: Local paths, globs, folders, URLs, or ``-`` for standard input.
            format: What all files hold, whatever they are called. By default the names say it,
                and standard input is JSONL.
            storage_options: For the file system of URLs.
            stdin: Standard input, if ``paths`` may be ``-``.
            column_types: For JSONL and CSV, types of columns by name: ``bool``, ``int64``,
                ``double``, ``string`` or ``json``. By default the first lines of JSONL show
                them, and CSV is text.
            before: The fingerprints with which the job began, if this goes on with one. Columns
                are then those of the beginning.

        Raises:
            InputChangedError: The input is another than ``before`` says, or lost rows.
            InputError: Something else is wrong with it. All messages name the file.
        """
        chosen = _format(format)
        standard_input = None
        if STANDARD_INPUT in paths:
            if len(paths) > 1 or stdin is None:
                raise InputError("standard input (-) is an input by itself: name files without it")
            standard_input = StandardInput(stdin)
            files = [standard_input_file(standard_input, chosen)]
        else:
            files = find_files(paths, chosen, storage_options or {})
        other = next((each for each in files if each.format is not files[0].format), None)
        if other is not None:
            raise InputError(
                f"{files[0].path} is {files[0].format} and {other.path} is {other.format}: name "
                "files of one format, or name all by --format"
            )
        with ThreadPoolExecutor(min(_OPENED_AT_ONCE, len(files))) as threads:
            readers = list(threads.map(open_reader, files))
            fingerprints = list(threads.map(fingerprint, readers))
        if all(each.rows == 0 for each in readers):
            raise InputError("the input has no rows: " + ", ".join(each.path for each in files[:3]))
        if before is not None:
            check_unchanged(before, fingerprints, readers)
        known = dict(before[0].get("columns") or {}) if before else {}
        schema = common_schema(readers, {**known, **(column_types or {})})
        if files[0].format is Format.JSONL:
            if known:
                # Lines that came meanwhile may show others.
                schema = pa.schema([schema.field(name) for name in known])
            fingerprints[0]["columns"] = {each.name: type_name(each) for each in schema}
        return cls(
            readers, schema, fingerprints, Selection(needed=(), carried=schema), standard_input
        )

    @property
    def format(self) -> Format:
        return self._readers[0].file.format

    @property
    def schema(self) -> pa.Schema:
        """All columns; after ``select``, those that are carried."""
        return self._selection.carried

    @property
    def paths(self) -> list[str]:
        return [each.file.path for each in self._readers]

    @property
    def rows_total(self) -> int | None:
        """Rows of all files, where they say so without being read."""
        total = 0
        for reader in self._readers:
            if reader.rows is None:
                return None
            total += reader.rows
        return total

    @property
    def bytes_total(self) -> int | None:
        """Bytes of all files as stored; ``None`` for standard input and datasets."""
        total = 0
        for reader in self._readers:
            if reader.file.size is None:
                return None
            total += reader.file.size
        return total

    def select(self, *, needed: Sequence[str], carried: Sequence[str] | None = None) -> "Source":
        """Return a source that reads these columns only; ``carried=None`` carries all.

        Raises ``InputError``, which lists the columns, for one that is not there.
        """
        for name in [*needed, *(carried or ())]:
            require_column(self._schema, name)
        for reader in self._readers:
            for name in needed:
                check_has(reader, name)
        names = self._schema.names if carried is None else list(dict.fromkeys(carried))
        selection = Selection(
            needed=tuple(dict.fromkeys(needed)),
            carried=pa.schema([self._schema.field(name) for name in names]),
        )
        return Source(
            self._readers, self._schema, self.fingerprints, selection, self._standard_input
        )

    def batches(self, start_row: int = 0) -> Iterator[Rows]:
        """Read rows from ``start_row`` on; what lies before is skipped by metadata or by line.

        Raises:
            InputError: A file breaks off, or there are fewer rows than ``start_row``.
        """
        if self._standard_input is not None:
            self._standard_input.open_last()
        first_row = 0
        bytes_before = 0
        for reader in self._readers:
            skipped = max(0, start_row - first_row)
            if reader.rows is None or reader.rows > skipped:
                for chunk in reader.read(self._selection, skipped):
                    yield _rows(chunk, reader.file.path, first_row, bytes_before)
            first_row += reader.rows or 0
            bytes_before += reader.file.size or 0
        if first_row < start_row:
            raise InputError(
                f"the input has {first_row:,} rows, and this job has read {start_row:,} already: "
                "put back the input with which it began"
            )


def _format(name: str | None) -> Format | None:
    if name is None:
        return None
    try:
        return Format(name)
    except ValueError:
        raise InputError(f"there is no format {name!r}: use {', '.join(Format)}") from None


def _rows(chunk: Chunk, path: str, file_row: int, bytes_before: int) -> Rows:
    first_row = file_row + chunk.first
    place = _places(chunk, path, first_row)
    return Rows(
        first_row=first_row,
        carried=chunk.carried,
        failures={
            first_row + index: RowFailure(fault.code, fault.message, place(first_row + index))
            for index, fault in chunk.faults.items()
        },
        bytes_read=bytes_before + chunk.bytes_read,
        place=place,
        values=chunk.values,
    )


def _places(chunk: Chunk, path: str, first_row: int) -> Callable[[int], str]:
    lines, first = chunk.lines, chunk.first

    def place(row: int) -> str:
        index = row - first_row
        return f"{path}, row {first + index}" if lines is None else f"{path}, line {lines[index]}"

    return place
