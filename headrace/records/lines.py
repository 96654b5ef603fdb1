"""Cuts a stream of bytes into lines, in bounded memory. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be sent; the reason continues a sentence that begins with the line."""

    number: int
    reason: str


class LineCutter:
    """Yields lines unchanged, without the newline; blank ones are left out.

    A longer line than ``max_line_bytes`` is a ``BadLine``, and is never held in memory. ``number``
    is that of the last yielded line, from 1.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = b""
        self._dropped_bytes = 0
        self.number = 0

    def feed(self, data: bytes) -> Iterator[bytes | BadLine]:
        *lines, rest = data.split(b"\n")
        for line in lines:
            yield from self._end(line)
        self._keep(rest)

    def finish(self) -> Iterator[bytes | BadLine]:
        if self._rest or self._dropped_bytes:
            yield from self._end(b"")

    def _keep(self, data: bytes) -> None:
        self._rest += data
        if self._dropped_bytes or len(self._rest) > self._max_line_bytes:
            self._dropped_bytes += len(self._rest)
            self._rest = b""

    def _end(self, tail: bytes) -> Iterator[bytes | BadLine]:
        self._keep(tail)
        line, dropped_bytes = self._rest, self._dropped_bytes
        self._rest, self._dropped_bytes = b"", 0
        self.number += 1
        if dropped_bytes:
            reason = f"has {dropped_bytes:,} bytes, over the {self._max_line_bytes:,} of a line"
            yield BadLine(self.number, reason)
        elif line.strip():
            yield line
