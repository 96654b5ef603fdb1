"""Records that aiokafka cannot read, from hand-made batches."""

import gzip
import struct
from collections.abc import Callable

import pytest
from aiokafka.codec import lz4_encode, snappy_encode, zstd_encode
from aiokafka.structs import TopicPartition

from consumer.kafka.source.raw_records import UnreadRecord, is_readable_here, read_misnamed
from consumer.kafka.source.unpacking import UnpackedTooLargeError, Unpacking
from tests.contract.misnamed import MISNAMED, MISNAMED_AS_READ, make_batch

P = TopicPartition("t", 3)
HEADER_BYTES = 61
UNPACKING = Unpacking(1_000_000)


def with_attributes(batch: bytes, attributes: int, payload: bytes | None = None) -> bytes:
    changed = bytearray(batch[:HEADER_BYTES]) + (payload or batch[HEADER_BYTES:])
    struct.pack_into(">i", changed, 8, len(changed) - 12)
    struct.pack_into(">h", changed, 21, attributes)
    return bytes(changed)


def test_the_batch_comes_with_all_it_has() -> None:
    batch = read_misnamed(make_batch(40, [[], [("a", b"")], MISNAMED]), P, 41, UNPACKING)

    assert batch is not None
    assert batch.end_offset == 43
    assert [record.offset for record in batch.records] == [40, 41, 42]
    record = batch.records[2]
    assert (record.topic, record.partition, record.timestamp) == ("t", 3, 1002)
    assert (record.key, record.value) == (b"k2", b"v2")
    assert list(record.headers) == MISNAMED_AS_READ


def test_an_ordinary_batch_is_left_to_the_ordinary_way() -> None:
    assert (
        read_misnamed(make_batch(0, [[], []]) + make_batch(2, [MISNAMED]), P, 1, UNPACKING) is None
    )
    assert read_misnamed(make_batch(0, [MISNAMED]), P, 1, UNPACKING) is None
    assert read_misnamed(b"", P, 0, UNPACKING) is None


def test_batches_that_end_below_and_control_batches_are_passed_over() -> None:
    control = with_attributes(make_batch(8, [MISNAMED]), 0x20)
    data = make_batch(0, [MISNAMED, []]) + control + make_batch(9, [MISNAMED])

    batch = read_misnamed(data, P, 2, UNPACKING)

    assert batch is not None
    assert batch.records[0].offset == 9


def test_a_batch_covers_what_is_left_of_it() -> None:
    batch = read_misnamed(make_batch(3, [MISNAMED, []]), P, 3, UNPACKING)

    assert batch is not None
    assert [batch.covers(offset) for offset in (2, 3, 4, 5)] == [False, True, True, False]


def test_a_batch_that_is_cut_off_is_not_read() -> None:
    assert read_misnamed(make_batch(0, [MISNAMED])[:-1], P, 0, UNPACKING) is None
    assert read_misnamed(make_batch(0, [MISNAMED])[:30], P, 0, UNPACKING) is None


@pytest.mark.parametrize(
    ("codec", "encode"),
    [(1, gzip.compress), (2, snappy_encode), (3, lz4_encode), (4, zstd_encode)],
)
def test_compressed_batches_are_read(codec: int, encode: Callable[[bytes], bytes]) -> None:
    batch = make_batch(5, [[], MISNAMED])

    found = read_misnamed(
        with_attributes(batch, codec, encode(batch[HEADER_BYTES:])), P, 6, UNPACKING
    )

    assert found is not None
    assert list(found.records[1].headers) == MISNAMED_AS_READ


def test_the_brokers_time_counts_where_the_topic_says_so() -> None:
    batch = read_misnamed(with_attributes(make_batch(0, [MISNAMED, []]), 0x08), P, 0, UNPACKING)

    assert batch is not None
    assert {(each.timestamp, each.timestamp_type) for each in batch.records} == {(1001, 1)}


def test_aiokafkas_two_ways_to_fail_on_a_name_are_known() -> None:
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    wrapped = ValueError("as the pure Python decoder raises it")
    wrapped.__cause__ = error

    assert is_readable_here(error)
    assert is_readable_here(wrapped)
    assert not is_readable_here(ValueError("another"))


def test_of_a_batch_that_unpacks_to_too_much_the_offsets_are_told_in_portions() -> None:
    batch = make_batch(5, [[]] * 2_500)
    packed = with_attributes(batch, 4, zstd_encode(batch[HEADER_BYTES:]))
    little = Unpacking(1_000)

    found = [read_misnamed(packed, P, offset, little) for offset in (0, 6, 2_500)]

    ends = [None if each is None else each.end_offset for each in found]
    assert ends == [1_005, 1_006, 2_505]
    assert found[1] is not None
    record = found[1].records[0]
    assert isinstance(record, UnreadRecord)
    assert (record.offset, record.key) == (6, None)
    assert "flow.max_batch_bytes, 1,000 bytes" in str(record.value)
    assert is_readable_here(UnpackedTooLargeError(1_000))
