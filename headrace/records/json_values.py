"""Cuts a stream of bytes into JSON objects, in an array or one after another. Pure.

Their bytes stay unchanged, which no parser guarantees: numbers keep their spelling.
"""

import re
from collections.abc import Iterator

_BEGIN = re.compile(rb"[^\s,]")
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(")?|[{}\[\]]', re.DOTALL)
"""A string, maybe without its end yet, or a bracket outside of one."""


class BrokenFileError(ValueError):
    """A file is broken from a line on; the reason continues a sentence about that line."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number} {reason}")
        self.number = number
        self.reason = reason


class ObjectCutter:
    """Yields objects unchanged, from an array or one after another.

    A longer object than ``max_object_bytes`` breaks the file, and is never held in memory.
    ``number`` is the line, from 1, in which the last yielded object begins.
    """

    def __init__(self, max_object_bytes: int, *, is_array: bool) -> None:
        self._max_object_bytes = max_object_bytes
        self._is_array = is_array
        self._is_open = False
        self._is_over = False
        self._rest = b""
        # How much of the unfinished object was scanned, and how deeply nested its end is.
        self._seen_bytes = 0
        self._depth = 0
        self._line = 1
        self.number = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the objects that end in these bytes; ``BrokenFileError`` for anything else."""
        buffer, position = self._rest + data, 0
        while (start := self._next_object(buffer, position)) is not None:
            position = start
            end = self._end_of_object(buffer, start)
            if end is None:
                break
            self._check_size(end - start)
            self.number = self._line
            yield buffer[start:end]
            self._line += buffer.count(b"\n", start, end)
            position = end
        else:
            position = len(buffer)
        self._rest = buffer[position:]
        self._check_size(len(self._rest))

    def finish(self) -> None:
        if self._rest:
            raise BrokenFileError(self._line, "begins a JSON object that is never closed")
        if self._is_array and not self._is_over:
            raise BrokenFileError(self._line, "ends the file within its JSON array: it is cut off")

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._max_object_bytes:
            raise BrokenFileError(
                self._line, f"begins an object of more than {self._max_object_bytes:,} bytes"
            )

    def _next_object(self, buffer: bytes, position: int) -> int | None:
        while True:
            found = _BEGIN.search(buffer, position)
            start = found.start() if found else len(buffer)
            self._line += buffer.count(b"\n", position, start)
            mark = buffer[start : start + 1]
            if not mark:
                return None
            if self._is_over:
                raise BrokenFileError(self._line, "goes on behind the end of the JSON array")
            if mark == b"{" and self._is_open == self._is_array:
                return start
            if mark == b"[" and self._is_array and not self._is_open:
                self._is_open = True
            elif mark == b"]" and self._is_open:
                self._is_over = True
            else:
                raise BrokenFileError(self._line, "has something else than a JSON object")
            position = start + 1

    def _end_of_object(self, buffer: bytes, start: int) -> int | None:
        for token in _TOKEN.finditer(buffer, start + self._seen_bytes):
            mark = token[0]
            if mark in (b"{", b"["):
                self._depth += 1
            elif mark in (b"}", b"]"):
                self._depth -= 1
                if not self._depth:
                    self._seen_bytes = 0
                    return token.end()
            elif token[1] is None:
                self._seen_bytes = token.start() - start
                return None
        self._seen_bytes = len(buffer) - start
        return None
