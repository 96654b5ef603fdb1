"""UTF-8 out of what a text file is written in."""

import codecs

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.text.streams import ByteStream

_LOOKED_AT_BYTES = 256
_INVALID = b"\xff"


def encoding_of(beginning: bytes) -> tuple[str, int]:
    """Return the encoding, and the length of its byte order mark, by a file's first bytes.

    UTF-16 without a mark is known by its zeros: every other byte of Latin text. Raises
    ``ValueError`` for UTF-32.
    """
    if beginning.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise ValueError("it is UTF-32")
    if beginning.startswith(codecs.BOM_UTF8):
        return "utf-8", 3
    if beginning.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le", 2
    if beginning.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be", 2
    looked_at = beginning[:_LOOKED_AT_BYTES]
    even, odd = looked_at[::2], looked_at[1::2]
    if odd.count(0) * 2 > len(odd) and not even.count(0):
        return "utf-16-le", 0
    if even.count(0) * 2 > len(even) and not odd.count(0):
        return "utf-16-be", 0
    return "utf-8", 0


class AsUtf8:
    """A text stream as UTF-8, without byte order mark.

    What is no UTF-16 becomes bytes that are no UTF-8, so that only its line is refused.
    """

    def __init__(self, stream: ByteStream, path: str) -> None:
        self._stream = stream
        beginning = b""
        # A pipe may give a byte at a time.
        while len(beginning) < _LOOKED_AT_BYTES and (data := stream.read(_LOOKED_AT_BYTES)):
            beginning += data
        try:
            encoding, mark = encoding_of(beginning)
        except ValueError as error:
            raise InputError(f"{path}: {error}: write it as UTF-8 (iconv -t UTF-8)") from None
        self._pending = beginning[mark:]
        self._decoder = (
            None
            if encoding == "utf-8"
            else codecs.getincrementaldecoder(encoding)(errors="surrogatepass")
        )

    def read(self, size: int, /) -> bytes:
        while True:
            data, self._pending = self._pending + self._stream.read(size), b""
            if self._decoder is None:
                return data
            encoded = self._as_utf8(self._decoder, data)
            # Part of a character is no end of the file.
            if encoded or not data:
                return encoded

    def _as_utf8(self, decoder: codecs.IncrementalDecoder, data: bytes) -> bytes:
        try:
            return decoder.decode(data, final=not data).encode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            decoder.reset()
            return _INVALID
