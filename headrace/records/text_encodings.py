"""Turns a stream of bytes in one of the encodings of JSON files into UTF-8. Pure."""

import codecs

from headrace.records.json_values import BrokenFileError
from schemas.wire.framing import BYTE_ORDER_MARK

_HEAD_BYTES = 2


class Utf8Stream:
    """Yields UTF-8 without a byte order mark, from a file in UTF-8 or UTF-16.

    JSON begins with an ASCII character: a zero byte beside it means UTF-16 without a byte order
    mark. Bytes of UTF-8 come out unchanged, right or wrong.
    """

    def __init__(self) -> None:
        self._head = b""
        self._is_begun = False
        self._decoder: codecs.IncrementalDecoder | None = None
        self._line = 1

    def feed(self, data: bytes, *, is_end: bool) -> bytes:
        """Return these bytes in UTF-8; ``BrokenFileError`` if they have another encoding."""
        if not self._is_begun:
            self._head += data
            if len(self._head) <= _HEAD_BYTES and not is_end:
                return b""
            self._is_begun = True
            data, self._head = self._head.removeprefix(BYTE_ORDER_MARK), b""
            if encoding := _utf16_of(data):
                self._decoder = codecs.getincrementaldecoder(encoding)()
        if self._decoder is None:
            return data
        try:
            text = self._decoder.decode(data, is_end)
        except UnicodeDecodeError as error:
            raise BrokenFileError(self._line, f"or a later one is no UTF-16 ({error})") from None
        self._line += text.count("\n")
        return text.encode()


def _utf16_of(head: bytes) -> str | None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head[:1] == b"\0":
        return "utf-16-be"
    return "utf-16-le" if head[1:2] == b"\0" else None
