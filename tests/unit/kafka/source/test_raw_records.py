"""Records that aiokafka cannot read, from hand-made batches, through aiokafka's fetcher."""

import gzip
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiokafka.codec import lz4_encode, snappy_encode, zstd_encode
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record import memory_records
from aiokafka.record.default_records import (
    DefaultRecordBatchBuilder,
    _DefaultRecordBatchPy,
)
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from consumer.kafka.source import raw_records
from consumer.kafka.source.raw_records import Unread
from consumer.kafka.source.unpacking import Unpacking
from tests.contract.misnamed import MISNAMED, MISNAMED_AS_READ, make_batch

P = TopicPartition("t", 3)
HEADER_BYTES = 61
READ_COMMITTED = 1
KAFKAS_OWN = (fetcher.MemoryRecords, fetcher.PartitionRecords)


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    raw_records.install(Unpacking(1_000_000))
    yield
    fetcher.MemoryRecords, fetcher.PartitionRecords = KAFKAS_OWN
    Unpacking(256 * 1024 * 1024).install()


def fetched(data: bytes, offset: int) -> Any:
    """Return what a fetch from ``offset`` has brought."""
    records = fetcher.MemoryRecords(data)
    return fetcher.PartitionRecords(P, records, None, offset, None, None, True, READ_COMMITTED)


def read(data: bytes, offset: int = 0) -> list[Any]:
    return list(fetched(data, offset))


def with_attributes(batch: bytes, attributes: int, payload: bytes | None = None) -> bytes:
    changed = bytearray(batch[:HEADER_BYTES]) + (payload or batch[HEADER_BYTES:])
    struct.pack_into(">i", changed, 8, len(changed) - 12)
    struct.pack_into(">h", changed, 21, attributes)
    struct.pack_into(">I", changed, 17, calc_crc32c(bytes(changed[21:])))
    return bytes(changed)


def test_a_record_comes_with_all_it_has(caplog: pytest.LogCaptureFixture) -> None:
    records = read(make_batch(40, [[], [("a", b"")], MISNAMED]), 41)

    assert [record.offset for record in records] == [41, 42]
    record = records[1]
    assert (record.topic, record.partition, record.timestamp) == ("t", 3, 1002)
    assert (record.key, record.value) == (b"k2", b"v2")
    assert list(record.headers) == MISNAMED_AS_READ
    (warning,) = caplog.messages
    assert "TopicPartition(topic='t', partition=3)" in warning
    assert "before offset 43 is a header whose name is not UTF-8" in warning


def test_what_stands_before_and_behind_is_read_once() -> None:
    fine: list[list[tuple[str, bytes]]] = [[], []]
    odd = [*fine, MISNAMED]
    data = make_batch(0, fine) + make_batch(2, odd) + make_batch(5, odd) + make_batch(8, fine)
    waiting = fetched(data, 1)

    assert [record.offset for record in waiting] == list(range(1, 10))
    assert waiting.next_fetch_offset == 10


def test_control_batches_are_passed_over() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 1, 77, 0, -1, 1_000)
    assert builder.append(0, 0, struct.pack(">hh", 0, 1), b"", [])
    control = bytearray(builder.build())
    struct.pack_into(">q", control, 0, 8)
    control = bytearray(with_attributes(bytes(control), 0x30))
    data = make_batch(6, [MISNAMED, []]) + bytes(control) + make_batch(9, [MISNAMED])

    assert [record.offset for record in read(data, 7)] == [7, 9]


def test_aborted_batches_are_passed_over() -> None:
    aborted = bytearray(make_batch(0, [MISNAMED]))
    struct.pack_into(">q", aborted, 43, 77)
    data = with_attributes(bytes(aborted), 0x10) + make_batch(1, [MISNAMED])
    records = fetcher.MemoryRecords(data)
    waiting = fetcher.PartitionRecords(P, records, [(77, 0)], 0, None, None, True, READ_COMMITTED)

    assert [record.offset for record in waiting] == [1]


def test_a_batch_that_is_cut_off_is_not_read() -> None:
    whole = make_batch(0, [MISNAMED])

    assert len(read(whole + make_batch(1, [MISNAMED])[:-1])) == 1
    assert read(whole[:-1]) == read(whole[:30]) == []


@pytest.mark.parametrize(
    ("codec", "encode"),
    [(1, gzip.compress), (2, snappy_encode), (3, lz4_encode), (4, zstd_encode)],
)
def test_compressed_batches_are_read(codec: int, encode: Callable[[bytes], bytes]) -> None:
    batch = make_batch(5, [[], MISNAMED])

    records = read(with_attributes(batch, codec, encode(batch[HEADER_BYTES:])), 6)

    assert [list(record.headers) for record in records] == [MISNAMED_AS_READ]


def test_the_brokers_time_counts_where_the_topic_says_so() -> None:
    records = read(with_attributes(make_batch(0, [MISNAMED, []]), 0x08))

    assert {(each.timestamp, each.timestamp_type) for each in records} == {(1001, 1)}


def test_aiokafkas_decoder_in_python_fails_in_a_way_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_records, "DefaultRecordBatch", _DefaultRecordBatchPy)
    monkeypatch.setattr(raw_records, "MemoryRecords", memory_records._MemoryRecordsPy)

    assert [list(each.headers) for each in read(make_batch(0, [[], MISNAMED]))] == [
        [],
        MISNAMED_AS_READ,
    ]


def test_a_damaged_batch_is_still_an_error() -> None:
    batch = make_batch(0, [[]])
    with pytest.raises(CorruptRecordException):
        read(batch[:-1] + b"?")
    with pytest.raises(CorruptRecordException):
        read(with_attributes(batch, 0, batch[HEADER_BYTES:] + b"more"))


def test_of_a_batch_that_unpacks_to_too_much_each_offset_says_so() -> None:
    little = Unpacking(1_000)
    little.install()
    raw_records.install(little)
    batch = make_batch(5, [[]] * 2_500)
    packed = with_attributes(batch, 4, zstd_encode(batch[HEADER_BYTES:]))

    records = read(packed + make_batch(2_505, [[]]), 2_000)

    assert [record.offset for record in records] == list(range(2_000, 2_506))
    assert {type(record.value) for record in records[:-1]} == {Unread}
    assert (records[0].key, list(records[0].headers)) == (None, [])
    assert "flow.max_batch_bytes, 1,000 bytes" in records[0].value
    assert records[-1].value == b"v0"
