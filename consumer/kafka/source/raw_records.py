"""Reads on where aiokafka's decoding fails: header names that are not UTF-8, and huge batches.

aiokafka decodes header names strictly, and never gets past a record where that fails; Kafka takes
any bytes. A batch that unpacks to more than is allowed is not read: each of its offsets gets a
record that says so. Format: Kafka's documentation, "Message Format", record batch version 2; older
versions have no headers.
"""

import logging
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.source.unpacking import UnpackedTooLargeError, Unpacking

log = logging.getLogger(__name__)

_LOG_OVERHEAD = 12
"""The bytes before those that a batch's length counts."""
_RECORD_COUNT_AT = 57
_RECORDS_AT = 61


class Unread(str):
    """The value of a record that was not read; says why."""

    __slots__ = ()


class _RawRecord(NamedTuple):
    offset: int
    timestamp: int | None
    timestamp_type: int | None
    key: bytes | None
    value: bytes | Unread | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


def install(unpacking: Unpacking) -> None:
    fetcher.MemoryRecords = partial(TolerantRecords, unpacking)
    fetcher.PartitionRecords = _PartitionRecords


class TolerantRecords:
    r"""The batches of a fetch; aiokafka's fetcher uses it in place of its ``MemoryRecords``.

    In header names ``\xff`` stands for each byte that is not UTF-8. The last batch of ``content``
    may be incomplete.
    """

    def __init__(self, unpacking: Unpacking, content: bytes) -> None:
        self.partition: KafkaPartition | None = None
        self._unpacking = unpacking
        self._content = memoryview(content)
        self._at = 0
        self._records = MemoryRecords(content)
        self.has_next = self._records.has_next
        self.size_in_bytes = self._records.size_in_bytes

    def next_batch(self) -> "_Batch":
        start = self._at
        (length,) = struct.unpack_from(">i", self._content, start + _LOG_OVERHEAD - 4)
        self._at = start + _LOG_OVERHEAD + length
        content = self._content[start : self._at]
        return _Batch(self._records.next_batch(), content, self._unpacking, self.partition)


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    def __init__(self, partition: KafkaPartition, records: TolerantRecords, *rest: Any) -> None:
        records.partition = partition
        super().__init__(partition, records, *rest)


class _Batch:
    """aiokafka's batch, but its records can be iterated where aiokafka's cannot."""

    def __init__(
        self,
        batch: Any,
        content: memoryview,
        unpacking: Unpacking,
        partition: KafkaPartition | None,
    ) -> None:
        self._batch = batch
        self._content = content
        self._unpacking = unpacking
        self._partition = partition
        self._place: dict[str, Any] = {} if partition is None else partition._asdict()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except (UnicodeDecodeError, CorruptRecordException, UnpackedTooLargeError) as error:
            # aiokafka's decoder in Python, without extensions, wraps what it raises.
            cause = error.__cause__ if isinstance(error, CorruptRecordException) else error
            # The fetcher skips the records that it already has.
            if isinstance(cause, UnpackedTooLargeError):
                yield from self._unread(cause)
            elif isinstance(cause, UnicodeDecodeError):
                yield from self._misnamed()
            else:
                raise

    def _unread(self, error: UnpackedTooLargeError) -> Iterator[_RawRecord]:
        end = self._batch.next_offset
        start = getattr(self._batch, "base_offset", end - 1)
        timestamp_ms = getattr(self._batch, "max_timestamp", None)
        log.warning(
            "%s: records from offset %d to %d cannot be read: %s",
            self._partition,
            start,
            end - 1,
            error,
            extra={
                "event": "batch_not_read",
                "offset": start,
                "records": end - start,
                "error_class": type(error).__name__,
                **self._place,
            },
        )
        for offset in range(start, end):
            yield _RawRecord(offset, timestamp_ms, 0, None, Unread(error), [])

    def _misnamed(self) -> Iterator[_RawRecord]:
        batch = self._batch
        log.warning(
            "%s: in the batch that ends before offset %d is a header whose name is not UTF-8; "
            "such bytes are written as \\x.. in it",
            self._partition,
            batch.next_offset,
            extra={
                "event": "header_name_not_utf8",
                "offset": batch.next_offset,
                **self._place,
            },
        )
        unpack = self._unpacking.by_codec[batch.compression_type]
        fields = _Fields(unpack(bytes(self._content[_RECORDS_AT:])))
        (count,) = struct.unpack_from(">i", self._content, _RECORD_COUNT_AT)
        for _ in range(count):
            fields.varint()  # the record's length
            fields.varint()  # its attributes: none are defined
            timestamp_ms = batch.first_timestamp + fields.varint()
            if batch.timestamp_type:
                timestamp_ms = batch.max_timestamp
            offset = batch.base_offset + fields.varint()
            key, value = fields.bytes_or_none(), fields.bytes_or_none()
            headers = []
            for _ in range(fields.varint()):
                name = fields.bytes_or_none() or b""
                headers.append((name.decode(errors="backslashreplace"), fields.bytes_or_none()))
            yield _RawRecord(offset, timestamp_ms, batch.timestamp_type, key, value, headers)


class _Fields:
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
