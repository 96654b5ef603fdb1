"""Batches unpack to no more than is allowed."""

import gzip
import struct
from collections.abc import Callable, Iterator

import cramjam
import pytest
from aiokafka.codec import lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from consumer.kafka.source.unpacking import UnpackedTooLargeError, Unpacking
from tests.contract.misnamed import make_batch
from tests.unit.kafka.source.test_raw_records import HEADER_BYTES, with_attributes

CODECS = [(1, gzip.compress), (2, snappy_encode), (3, lz4_encode), (4, zstd_encode)]
BOUNDED = [each for each in CODECS if each[0] != 2]
LIMIT = 100_000


@pytest.fixture
def _installed() -> Iterator[None]:
    Unpacking(LIMIT).install()
    yield
    Unpacking(256 * 1024 * 1024).install()


@pytest.mark.parametrize(("codec", "encode"), CODECS)
@pytest.mark.parametrize("data", [b"a", bytes(range(256)) * 9, b"z" * LIMIT])
def test_what_is_within_the_bound_comes_out_as_it_went_in(
    codec: int, encode: Callable[[bytes], bytes], data: bytes
) -> None:
    assert Unpacking(LIMIT).by_codec[codec](encode(data)) == data


@pytest.mark.parametrize(("codec", "encode"), BOUNDED)
@pytest.mark.parametrize("size_bytes", [LIMIT + 1, 50 * LIMIT])
def test_what_is_beyond_it_does_not(
    codec: int, encode: Callable[[bytes], bytes], size_bytes: int
) -> None:
    with pytest.raises(UnpackedTooLargeError):
        Unpacking(LIMIT).by_codec[codec](encode(bytes(size_bytes)))


@pytest.mark.parametrize(("codec", "encode"), BOUNDED)
def test_what_is_broken_is_not_called_too_large(
    codec: int, encode: Callable[[bytes], bytes]
) -> None:
    with pytest.raises((EOFError, cramjam.DecompressionError)):
        Unpacking(LIMIT).by_codec[codec](encode(bytes(1_000))[:-5])


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(("codec", "encode"), BOUNDED)
def test_aiokafka_unpacks_within_the_bound(codec: int, encode: Callable[[bytes], bytes]) -> None:
    def read(value: bytes) -> list[bytes | None]:
        batch = make_batch(0, [[("x", value)]])
        packed = bytearray(with_attributes(batch, codec, encode(batch[HEADER_BYTES:])))
        struct.pack_into(">I", packed, 17, calc_crc32c(bytes(packed[21:])))
        records = MemoryRecords(bytes(packed))
        (only,) = [record for each in iter(records.next_batch, None) for record in each]
        return [value for _, value in only.headers]

    assert read(b"v" * 500) == [b"v" * 500]
    with pytest.raises(UnpackedTooLargeError):
        read(b"v" * LIMIT)
