"""Finds the request lines in the bytes of a file, in any of the known formats. Pure."""

from collections.abc import Iterator

import orjson

from headrace.records.json_values import BrokenFileError, ObjectCutter
from headrace.records.lines import BadLine, LineCutter
from headrace.records.text_encodings import Utf8Stream

_SHOWN_BYTES = 40


class RequestLines:
    """Yields request lines: of JSON lines, of an array, or of objects one after another.

    Each is a JSON object on one line; its content is not checked.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._text = Utf8Stream()
        self._head = b""
        self._cutter: LineCutter | ObjectCutter | None = None
        self._has_lines = False

    def feed(self, data: bytes) -> Iterator[bytes | BadLine]:
        """Yield the lines that end in these bytes; ``BrokenFileError`` for other content."""
        yield from self._cut(self._text.feed(data, is_end=False), is_end=False)

    def finish(self) -> Iterator[bytes | BadLine]:
        """Yield the rest; ``BrokenFileError`` if the file ends early or has no lines."""
        yield from self._cut(self._text.feed(b"", is_end=True), is_end=True)
        if not self._has_lines:
            raise BrokenFileError(1, "is the end: there is not one request line")

    def _cut(self, text: bytes, *, is_end: bool) -> Iterator[bytes | BadLine]:
        if self._cutter is None:
            self._head += text
            self._cutter = self._choose_cutter(is_end=is_end)
            text, self._head = (self._head, b"") if self._cutter else (b"", self._head)
        cutter = self._cutter
        if isinstance(cutter, LineCutter):
            for line in cutter.feed(text):
                yield self._checked(line, cutter.number)
            for line in cutter.finish() if is_end else ():
                yield self._checked(line, cutter.number)
        elif cutter is not None:
            for value in cutter.feed(text):
                line = self._checked(value, cutter.number)
                yield line if isinstance(line, BadLine) else _on_one_line(line)
            if is_end:
                cutter.finish()

    def _choose_cutter(self, *, is_end: bool) -> LineCutter | ObjectCutter | None:
        head = self._head.lstrip()
        if head[:1] == b"[":
            return ObjectCutter(self._max_line_bytes, is_array=True)
        line, newline, _ = head.partition(b"\n")
        if not newline and not is_end and len(self._head) <= self._max_line_bytes:
            return None
        if newline and line[:1] == b"{" and not _is_json(line):
            return ObjectCutter(self._max_line_bytes, is_array=False)
        return LineCutter(self._max_line_bytes)

    def _checked(self, line: bytes | BadLine, number: int) -> bytes | BadLine:
        self._has_lines = True
        if isinstance(line, BadLine):
            return line
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return BadLine(number, f"is not JSON ({error}): {_shown(line)}")
        return line if isinstance(value, dict) else BadLine(number, f"is no object: {_shown(line)}")


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _on_one_line(value: bytes) -> bytes:
    # JSON has newlines between its tokens only.
    return b" ".join(part.strip() for part in value.splitlines()) if b"\n" in value else value


def _shown(line: bytes) -> str:
    return repr(line[:_SHOWN_BYTES].decode(errors="backslashreplace"))
