"""Batches with a header whose name is not UTF-8: Kafka accepts them, aiokafka cannot write them."""

import struct

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

MISNAMED = [("??", b"1"), ("fine", b"2")]
"""Headers; on the topic the first one's name is two bytes that are not UTF-8."""
MISNAMED_AS_READ = [("\\xff\\xfe", b"1"), ("fine", b"2")]


def rename(batch: bytes | bytearray) -> bytearray:
    """Return an uncompressed batch with the name changed and the checksum right."""
    changed = bytearray(batch).replace(b"??", b"\xff\xfe")
    struct.pack_into(">I", changed, 17, calc_crc32c(bytes(changed[21:])))
    return changed


def make_batch(base_offset: int, headers: list[list[tuple[str, bytes]]]) -> bytes:
    """Return a batch with one record for each list of headers."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1_000_000)
    for delta, each in enumerate(headers):
        assert builder.append(delta, 1000 + delta, b"k%d" % delta, b"v%d" % delta, each)
    batch = rename(builder.build())
    struct.pack_into(">q", batch, 0, base_offset)
    return bytes(batch)
