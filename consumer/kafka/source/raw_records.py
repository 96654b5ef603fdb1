"""Reading a batch that aiokafka cannot: one with a header whose name is not UTF-8, or a huge one.

aiokafka decodes the names strictly and gives up on the record, and so on all that follow it in its
batch, wherever a fetch begins, and on the partition. Kafka itself takes any bytes. Format: Kafka's
documentation, "Message Format", record batch version 2; the older ones have no headers.

Of a batch that unpacks to more than is allowed only the offsets are known: for each of them stands
an ``UnreadRecord``.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka.record.util import decode_varint
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.source.unpacking import UnpackedTooLargeError, Unpacking

_BATCH_HEADER = struct.Struct(">qiibIhiqqqhii")
_BYTES_BEFORE_BATCH_LENGTH_COUNTS = 12
_MAGIC = 2
_CODEC_MASK, _LOG_APPEND_TIME, _CONTROL = 0x07, 0x08, 0x20
_MOST_UNREAD = 1_000
"""Of a huge batch these many records are told about at a time: it may have millions."""


class UnreadRecord(ConsumerRecord[Any, Any]):  # type: ignore[misc] # aiokafka is untyped
    """A place in the log whose record was not read; its value says why."""


class MisnamedBatch(NamedTuple):
    """The records of a batch that aiokafka cannot read.

    Attributes:
        records: All of them, or the next of a huge one, in the order of their offsets.
        end_offset: The offset behind them.
    """

    records: list[ConsumerRecord[Any, Any]]
    end_offset: int

    def covers(self, offset: int) -> bool:
        """Tell whether all records of the log from ``offset`` to the batch's end are here."""
        return bool(self.records) and self.records[0].offset <= offset < self.end_offset


class _Batch(NamedTuple):
    """A batch's header fields that matter here, and its records, compressed as they were."""

    base_offset: int
    attributes: int
    end_offset: int
    first_timestamp_ms: int
    max_timestamp_ms: int
    record_count: int
    payload: bytes


def is_readable_here(error: BaseException) -> bool:
    """Tell whether aiokafka failed on bytes that are no UTF-8, a header's name, or on a size."""
    kinds = (UnicodeDecodeError, UnpackedTooLargeError)
    return isinstance(error, kinds) or isinstance(error.__cause__, kinds)


def read_misnamed(
    data: bytes, partition: KafkaPartition, offset: int, unpacking: Unpacking
) -> MisnamedBatch | None:
    r"""Return the batch that the first record at or above ``offset`` is in.

    Args:
        data: Record batches as a fetch brings them; the last may be cut off.
        partition: Where they are from.
        offset: Batches that end below are passed over.
        unpacking: How batches are unpacked.

    Returns:
        The batch, with ``\xff`` in the names for each byte that is not UTF-8; ``None`` where all
        its names are UTF-8, or there is none.
    """
    for batch in _batches(data):
        if batch.end_offset <= offset or batch.attributes & _CONTROL:
            continue
        try:
            decoded = list(_records(batch, partition, unpacking))
        except UnpackedTooLargeError as error:
            return _unread(batch, partition, offset, str(error))
        if any(is_misnamed for _, is_misnamed in decoded):
            return MisnamedBatch([record for record, _ in decoded], batch.end_offset)
        return None
    return None


def _batches(data: bytes) -> Iterator[_Batch]:
    start = 0
    while start + _BATCH_HEADER.size <= len(data):
        header = _BATCH_HEADER.unpack_from(data, start)
        base_offset, length_bytes, _, magic, _, attributes, last_delta, first_ms, max_ms = header[
            :9
        ]
        end = start + _BYTES_BEFORE_BATCH_LENGTH_COUNTS + length_bytes
        if magic != _MAGIC or end > len(data):
            return
        payload = data[start + _BATCH_HEADER.size : end]
        end_offset = base_offset + last_delta + 1
        yield _Batch(base_offset, attributes, end_offset, first_ms, max_ms, header[12], payload)
        start = end


def _unread(batch: _Batch, partition: KafkaPartition, offset: int, reason: str) -> MisnamedBatch:
    start = max(offset, batch.base_offset)
    end = min(batch.end_offset, start + _MOST_UNREAD)
    records: list[ConsumerRecord[Any, Any]] = [
        UnreadRecord(*partition, each, batch.max_timestamp_ms, 0, None, reason, None, -1, -1, ())
        for each in range(start, end)
    ]
    return MisnamedBatch(records, end)


def _records(
    batch: _Batch, partition: KafkaPartition, unpacking: Unpacking
) -> Iterator[tuple[ConsumerRecord[Any, Any], bool]]:
    fields = _Fields(unpacking.by_codec[batch.attributes & _CODEC_MASK](batch.payload))
    has_append_time = bool(batch.attributes & _LOG_APPEND_TIME)
    for _ in range(batch.record_count):
        fields.varint()  # the record's length
        fields.varint()  # its attributes: none are defined
        timestamp_ms = batch.first_timestamp_ms + fields.varint()
        offset = batch.base_offset + fields.varint()
        key, value = fields.bytes_or_none(), fields.bytes_or_none()
        headers, is_misnamed = [], False
        for _ in range(fields.varint()):
            name = fields.bytes_or_none() or b""
            headers.append((name.decode(errors="backslashreplace"), fields.bytes_or_none()))
            is_misnamed = is_misnamed or not _is_utf8(name)
        record: ConsumerRecord[Any, Any] = ConsumerRecord(
            partition.topic,
            partition.partition,
            offset,
            batch.max_timestamp_ms if has_append_time else timestamp_ms,
            int(has_append_time),
            key,
            value,
            None,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
            tuple(headers),
        )
        yield record, is_misnamed


class _Fields:
    """Reads the fields of records one after the other."""

    def __init__(self, buffer: bytes) -> None:
        self._buffer = bytearray(buffer)
        self._position = 0

    def varint(self) -> int:
        value, self._position = decode_varint(self._buffer, self._position)
        return int(value)

    def bytes_or_none(self) -> bytes | None:
        length_bytes = self.varint()
        if length_bytes < 0:
            return None
        start, self._position = self._position, self._position + length_bytes
        return bytes(self._buffer[start : self._position])


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
