"""Hostile records as brokers would hand them over: packed into batches, some of them bombs."""

import random
from collections.abc import Iterator

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.source.raw_records import TolerantRecords, Unread
from consumer.kafka.source.unpacking import Unpacking
from consumer.ports import Record, TopicPartition
from tests.fuzz.records import HostileRecords

CODECS = (0, 1, 2, 3, 4)
"""None, gzip, snappy, lz4, zstd."""
BOMB_BYTES = 4 * 1024 * 1024
MOST_UNPACKED_BYTES = 1024 * 1024
_BUILT_BYTES = 16 * 1024 * 1024


def read_batches(
    hostile: HostileRecords,
    partition: TopicPartition,
    *,
    records: int,
    batch_records: int,
    seed: int,
) -> Iterator[list[Record]]:
    """Yield batches as the source reads them; ``records`` in all, offsets without a gap."""
    rnd = random.Random(seed)
    unpacking = Unpacking(MOST_UNPACKED_BYTES)
    unpacking.install()
    offset = 0
    bombs = 0
    while offset < records:
        count = min(batch_records, records - offset)
        is_bomb = rnd.random() < 0.002 or (bombs == 0 and offset > records // 2)
        bombs += is_bomb
        codec = rnd.choice(CODECS[1:] if is_bomb else CODECS)
        batch = _build(hostile, offset, count, codec, is_bomb=is_bomb)
        read = list(_read(batch, partition, unpacking))
        assert [each.offset for each in read] == list(range(offset, offset + count))
        yield read
        offset += count


def _build(
    hostile: HostileRecords, base_offset: int, count: int, codec: int, *, is_bomb: bool
) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=_BUILT_BYTES,
    )  # fmt: skip
    for number in range(count):
        each = hostile.next()
        value = b"0" * BOMB_BYTES if is_bomb and number == 0 else each.value
        added = builder.append(number, 1_700_000_000_000, each.key, value, headers=each.headers)
        assert added is not None
    built = bytearray(builder.build())
    # Brokers write the first offset; the checksum leaves it out.
    built[:8] = base_offset.to_bytes(8, "big")
    return bytes(built)


def _read(batch: bytes, partition: TopicPartition, unpacking: Unpacking) -> Iterator[Record]:
    records = TolerantRecords(unpacking, batch)
    records.partition = KafkaPartition(*partition)
    while records.has_next():
        for each in records.next_batch():
            if type(each.value) is Unread:
                problem = str(each.value)
                yield Record(partition, each.offset, None, None, [], each.timestamp, problem)
            else:
                yield Record(
                    partition, each.offset, each.key, each.value, list(each.headers), each.timestamp
                )
