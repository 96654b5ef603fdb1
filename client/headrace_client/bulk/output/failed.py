"""The failed file: a line of JSON for each row without an answer, in the order of rows.

``{"row": 17, "code": "...", "message": "...", "retryable": true, "columns": {...}}``, rows from 0.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from headrace_client.bulk.output.answered import AnsweredRows
from headrace_client.bulk.output.errors import OutputError
from headrace_client.bulk.output.formats.json_columns import as_json, json_rows

_BATCH_BYTES = 8192


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row of the failed file; ``columns`` are all of the input's, as JSON has them."""

    row: int
    code: str
    message: str
    retryable: bool
    columns: dict[str, Any]


def read_failed(path: Path) -> Iterator[FailedRow]:
    """The rows of a failed file in order, one in memory at a time.

    Raises:
        OutputError: a line is not one of a failed file, or out of order; it names the line.
    """
    for _, row in failed_lines(path):
        yield row


def failed_lines(path: Path) -> Iterator[tuple[bytes, FailedRow]]:
    """Each line with what it says."""
    before = -1
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            row = _parse(line, path, number)
            if row.row <= before:
                raise OutputError(
                    f"{path}: line {number} has row {row.row}, after row {before}: the rows of a "
                    "failed file must ascend. Sort it by row, or bring back the file as it was"
                )
            before = row.row
            yield line, row


def _parse(line: bytes, path: Path, number: int) -> FailedRow:
    try:
        value = orjson.loads(line)
        return FailedRow(
            int(value["row"]),
            str(value["code"]),
            str(value["message"]),
            bool(value["retryable"]),
            dict(value["columns"]),
        )
    except (ValueError, TypeError, KeyError):
        raise OutputError(
            f"{path}: line {number} is not a line of a failed file: bring back the file as "
            "headrace wrote it, or run the whole job again"
        ) from None


class FailedLines:
    """The failed rows of the open part, until it is finished."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, bytes]] = []
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, rows: AnsweredRows) -> None:
        if not rows.failures:
            return
        places = sorted(rows.failures)
        inputs = rows.columns if rows.inputs is None else rows.inputs
        shown = json_rows(inputs.take(pa.array(places, pa.int64())))
        for place, columns in zip(places, shown, strict=True):
            failure = rows.failures[place]
            number = int(rows.row_numbers[place])
            line = as_json(
                {
                    "row": number,
                    "code": failure.code,
                    "message": failure.message,
                    "retryable": failure.retryable,
                    "columns": columns if failure.columns is None else dict(failure.columns),
                }
            )
            self._lines.append((number, line + b"\n"))
            self.size_bytes += len(line) + 1

    def sorted_content(self) -> bytes:
        return b"".join(line for _, line in sorted(self._lines))


def merged_lines(paths: Sequence[Path]) -> Iterator[bytes]:
    """The lines of failed files whose rows overlap, by row."""
    for _, line in heapq.merge(*map(_numbered, paths)):
        yield line


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """Opened anew for each few lines: there may be more parts than a process may open files."""
    offset = 0
    while True:
        with path.open("rb") as file:
            file.seek(offset)
            lines = file.readlines(_BATCH_BYTES)
        if not lines:
            return
        for line in lines:
            offset += len(line)
            yield int(orjson.loads(line)["row"]), line
