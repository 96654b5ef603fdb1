"""Bytes of a file as stored, counted, and as decompressed."""

import io
from typing import BinaryIO, Protocol

import pyarrow as pa

READ_AT_ONCE_BYTES = 1 << 20


class ByteStream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class CountedBytes(io.RawIOBase):
    """Counts what is read of a file as it is stored."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__()
        self._raw = raw
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._raw.read(size)
        self.bytes_read += len(data)
        return data

    def close(self) -> None:
        self._raw.close()
        super().close()


def decompressed(raw: CountedBytes, compression: str | None) -> ByteStream:
    """Return the stream of what a file holds; several members of gzip or zstd are one."""
    if compression is None:
        return raw
    stream: ByteStream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)
    return stream
