"""Lines of a text file, in blocks, in memory that no line can exceed."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.text.encodings import AsUtf8
from headrace_client.bulk.rows.text.streams import (
    READ_AT_ONCE_BYTES,
    CountedBytes,
    decompressed,
)

MAX_LINE_BYTES = 64 << 20
SAMPLE_BYTES = 256 << 10
_SAMPLED_AT_ONCE_BYTES = 64 << 10
_READS_AHEAD = 4


class LongLine(bytes):
    """Stands for a line over the limit, which was read past; it has no bytes."""


LONG_LINE = LongLine()


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines.

    Attributes:
        lines: Without the line feeds that end them.
        first_line: The number of the first, from 1.
        bytes_read: Bytes of the file, as stored, up to here.
    """

    lines: list[bytes]
    first_line: int
    bytes_read: int


def read_blocks(
    file: InputFile,
    *,
    max_line_bytes: int = MAX_LINE_BYTES,
    read_at_once_bytes: int = READ_AT_ONCE_BYTES,
) -> Generator[Block, None, None]:
    """Read a file's lines. Raises ``InputError`` where it breaks off or cannot be read."""
    raw = CountedBytes(file.open(_READS_AHEAD * read_at_once_bytes))
    first_line = 1
    try:
        with _explained(file, lambda: first_line):
            stream = AsUtf8(decompressed(raw, file.compression), file.path)
            lines = _Lines(max_line_bytes)
            while data := stream.read(read_at_once_bytes):
                complete = lines.add(data)
                if complete:
                    yield Block(complete, first_line, raw.bytes_read)
                    first_line += len(complete)
            if rest := lines.end():
                yield Block(rest, first_line, raw.bytes_read)
    finally:
        raw.close()


def read_sample(file: InputFile, sample_bytes: int = SAMPLE_BYTES) -> list[bytes]:
    """Return a file's first lines: about as many as lie in ``sample_bytes``, and at least one."""
    blocks = read_blocks(file, read_at_once_bytes=_SAMPLED_AT_ONCE_BYTES)
    lines: list[bytes] = []
    left = sample_bytes
    try:
        while left > 0 and (block := next(blocks, None)) is not None:
            lines += block.lines
            left -= sum(map(len, block.lines)) + len(block.lines)
    finally:
        blocks.close()
    return lines


class _Lines:
    """Puts lines together that lie in several reads."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._too_long = False

    def add(self, data: bytes) -> list[bytes]:
        """Return the lines that end in ``data``."""
        end = data.rfind(b"\n")
        if end < 0:
            self._keep(data)
            return []
        lines = data[:end].split(b"\n")
        if self._too_long or self._parts:
            self._keep(lines[0])
            lines[0] = self._line()
        if len(data) > self._max_line_bytes:
            lines = [LONG_LINE if len(each) > self._max_line_bytes else each for each in lines]
        self._keep(data[end + 1 :])
        return lines

    def end(self) -> list[bytes]:
        """Return the last line, if it has no line feed."""
        return [self._line()] if self._too_long or self._parts else []

    def _keep(self, part: bytes) -> None:
        self._part_bytes += len(part)
        if self._part_bytes > self._max_line_bytes:
            self._too_long = True
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def _line(self) -> bytes:
        line = LONG_LINE if self._too_long else b"".join(self._parts)
        self._parts.clear()
        self._part_bytes, self._too_long = 0, False
        return line


@contextmanager
def _explained(file: InputFile, line: Callable[[], int]) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{file.path} cannot be read from line {line()} on: {error}. If it was cut short, "
            "complete it; run the same command again, and the job goes on from there"
        ) from None
