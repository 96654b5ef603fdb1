"""Unpacks compressed batches within a bound.

Kafka bounds a batch's packed size only (``max.message.bytes``): with zstd, 32 KiB hold a gigabyte
of zeros. aiokafka unpacks a batch whole, so one such batch would end every process that reads it.
"""

import gzip
import io
from collections.abc import Callable
from importlib import import_module

import cramjam
from aiokafka.codec import snappy_decode

_FIRST_GUESS = 8
_NEXT_GUESS = 16
_NO_ROOM = "failed to write whole buffer"
_HOLDERS = (
    "default_records",
    "legacy_records",
    "_crecords.default_records",
    "_crecords.legacy_records",
)
_NAMES = {1: "gzip_decode", 3: "lz4_decode", 4: "zstd_decode"}
"""The functions by which these modules unpack, by Kafka's number of the codec."""

Unpack = Callable[[bytes], bytes]


class UnpackedTooLargeError(Exception):
    """A batch unpacks to more than is allowed."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"its batch unpacks to more than flow.max_batch_bytes, {limit_bytes:,} bytes; raise "
            "that, or have producers send smaller batches"
        )


class Unpacking:
    """Unpacks at most ``limit_bytes`` a batch; snappy gives at most about 20 times its input."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.by_codec: dict[int, Unpack] = {
            0: bytes,
            1: self._gzip,
            2: snappy_decode,
            3: lambda packed: self._into(cramjam.lz4.decompress_into, packed),
            4: lambda packed: self._into(cramjam.zstd.decompress_into, packed),
        }

    def install(self) -> None:
        for holder in _HOLDERS:
            try:
                module = import_module(f"aiokafka.record.{holder}")
            except ImportError:  # an installation without the compiled ones
                continue
            for codec, name in _NAMES.items():
                if hasattr(module, name):
                    setattr(module, name, self.by_codec[codec])

    def _gzip(self, packed: bytes) -> bytes:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            unpacked = file.read(self._limit_bytes + 1)
        if len(unpacked) > self._limit_bytes:
            raise UnpackedTooLargeError(self._limit_bytes)
        return unpacked

    def _into(self, decompress: Callable[[bytes, bytearray], int], packed: bytes) -> bytes:
        packed = bytes(packed)
        size_bytes = _FIRST_GUESS * len(packed)
        while True:
            room = bytearray(min(size_bytes, self._limit_bytes))
            try:
                unpacked_bytes = decompress(packed, room)
            except cramjam.DecompressionError as error:
                if _NO_ROOM not in str(error):
                    raise
                if size_bytes >= self._limit_bytes:
                    raise UnpackedTooLargeError(self._limit_bytes) from None
                size_bytes *= _NEXT_GUESS
            else:
                return bytes(memoryview(room)[:unpacked_bytes])
