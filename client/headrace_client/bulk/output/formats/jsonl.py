"""JSONL: a line for a row. A block is the bytes of whole lines."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from headrace_client.bulk.output.answered import AnsweredRows
from headrace_client.bulk.output.files import FileSink
from headrace_client.bulk.output.formats.file_format import FileFormat
from headrace_client.bulk.output.formats.json_columns import as_json, json_rows
from headrace_client.bulk.output.layout import MIB, BodyAnswers, Layout, VectorAnswers

_READ_BYTES = MIB
_WRITE_BYTES = MIB


class JsonLines:
    """Rows with their columns and the vector, or the lines of an OpenAI Batch output file."""

    suffix = ".jsonl"
    keeps_failed = False

    def __init__(self, layout: Layout) -> None:
        self._answers = layout.answers
        self.parts: FileFormat = self

    def block(self, rows: AnsweredRows, dimensions: int | None) -> bytes:  # noqa: ARG002
        kept = rows.kept.tolist()
        if not kept:
            return b""
        columns = json_rows(rows.kept_columns())
        match self._answers:
            case VectorAnswers(column=name):
                vectors = rows.kept_vectors()
                lines = [as_json(row | {name: vectors[at]}) for at, row in enumerate(columns)]
            case BodyAnswers(job=job):
                numbers = rows.row_numbers.tolist()
                ids = rows.custom_ids or [str(number) for number in numbers]
                lines = [
                    _batch_line(f"{job}-{numbers[at]}", ids[at], body, row)
                    for at, body, row in zip(kept, rows.kept_bodies(), columns, strict=True)
                ]
        return b"\n".join([*lines, b""])

    def block_rows(self, block: bytes) -> int:
        return block.count(b"\n")

    def block_bytes(self, block: bytes) -> int:
        return len(block)

    def writer(self, sink: FileSink, dimensions: int | None) -> "LineWriter":  # noqa: ARG002
        return LineWriter(sink)

    def reader(self, paths: Sequence[Path], dimensions: int | None) -> "LineReader":  # noqa: ARG002
        return LineReader(paths)

    def dimensions(self, path: Path) -> int | None:
        with path.open("rb") as file:
            line = file.readline()
        if not line or not isinstance(self._answers, VectorAnswers):
            return None
        return len(orjson.loads(line)[self._answers.column])

    def check(self, path: Path, rows: int) -> None:  # noqa: ARG002 - counting is reading it all
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 1))
            if size and file.read(1) != b"\n":
                raise ValueError("its last line is cut short")

    def join(self, paths: Sequence[Path], sink: FileSink, dimensions: int | None) -> None:  # noqa: ARG002
        for path in paths:
            sink.copy(path)


def _batch_line(name: str, custom_id: str, body: bytes, columns: dict[str, Any]) -> bytes:
    if b"\n" in body or b"\r" in body:
        body = orjson.dumps(orjson.loads(body))
    quoted = as_json(name)
    carried = b',"columns":' + as_json(columns) if columns else b""
    return (
        b'{"id":%b,"custom_id":%b,"response":{"status_code":200,"request_id":%b,"body":%b},'
        b'"error":null%b}' % (quoted, as_json(custom_id), quoted, body, carried)
    )


class LineWriter:
    """Gathers lines to a mebibyte before it writes."""

    def __init__(self, sink: FileSink) -> None:
        self._sink = sink
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def write(self, block: bytes) -> None:
        self._pending.append(block)
        self._pending_bytes += len(block)
        if self._pending_bytes >= _WRITE_BYTES:
            self.finish()

    def finish(self) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        self._sink.write(b"".join(pending))

    def abandon(self) -> None:
        self._pending = []


class LineReader:
    """Lines of several files, one after another, as bytes."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._chunks = _whole_lines(paths)
        self._chunk = b""
        self._at = 0
        self._lines_left = 0

    def take(self, rows: int) -> Iterator[bytes]:
        while rows:
            if not self._lines_left:
                self._chunk, self._at = next(self._chunks, b""), 0
                self._lines_left = self._chunk.count(b"\n")
                if not self._lines_left:
                    return
            start, lines = self._at, min(rows, self._lines_left)
            if lines == self._lines_left:
                self._at = len(self._chunk)
            else:
                for _ in range(lines):
                    self._at = self._chunk.index(b"\n", self._at) + 1
            self._lines_left -= lines
            rows -= lines
            yield self._chunk[start : self._at]


def _whole_lines(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            kept: list[bytes] = []
            while data := file.read(_READ_BYTES):
                end = data.rfind(b"\n") + 1
                if end:
                    yield b"".join([*kept, data[:end]])
                    kept = []
                kept.append(data[end:])
            if last := b"".join(kept):
                yield last + b"\n"
