"""The completion map: which records above the committed offset are done, as commit metadata.

Records finish out of order, so a commit says "all below this offset, and these above it". The map
lists the *incomplete* offsets below the highest completed one, as varint gaps or as a bitset,
whichever is shorter, after a version, a checksum and the span; base64url without padding. Offsets
that were never delivered (compaction, transaction markers) count as complete.

The failures of records to retry follow the map (the second version; a map without any is written as
the first one, and both are read). They have room of their own. The id of the log may stand before
the span: a topic that is deleted and created again counts from 0 again, and a commit of the old
topic says nothing about the new one.

The brokers refuse metadata over ``offset.metadata.max.bytes`` characters. Confluent's Parallel
Consumer then drops its map and repeats the work after a failover; here a worst-case bound on the
encoded size (``worst_case_characters``) stops admission before the map could exceed the limit.
"""

import base64
import binascii
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consumer.ports import OffsetAndMetadata

_GAPS = 0x10
_BITSET = 0x11
_WITH_FAILURES = 0x20
"""Added to either: the payload's length stands before it, and failures after it."""
_OF_LOG = 0x40
"""Added to any: the log's id stands before the span."""
_LOG_ID_BYTES = 4
_MOST_COUNTED = 0x3FFF
"""Higher counts are written as this, in two bytes."""
_FAILURES_HEADER_BYTES = 5
"""The payload's length."""
_CHECKSUM_BYTES = 4
_MAX_VARINT_BYTES = 9
_CONTINUED = bytes(range(0x80, 0x100))
_BITS_OF_BYTE = tuple(tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(1 << 8))
_HEADER_BYTES = 1 + _CHECKSUM_BYTES + _MAX_VARINT_BYTES


class CompletionMapError(ValueError):
    """Commit metadata is no completion map for its offset."""


class RecordFailures(NamedTuple):
    """How often an incomplete record was handed to a model replica, and failures that count."""

    offset: int
    attempts: int
    strikes: int


def log_id_from(topic_id: bytes | None) -> bytes:
    """Return what stands for a topic's id in a map; empty if the brokers give topics none."""
    return zlib.crc32(topic_id).to_bytes(_LOG_ID_BYTES, "big") if topic_id else b""


@dataclass(frozen=True, slots=True)
class CompletionMap:
    """The progress of a partition from its committed offset on.

    Attributes:
        highest_completed: The highest complete offset; equal to the committed offset if none above
            it is complete, and the map is there for failures only.
        incomplete: Incomplete offsets between the committed one (itself incomplete) and the highest
            completed one; ascending.
        failures: Of records at or above the committed offset, also above the highest completed one;
            ascending by offset.
        log_id: The id of the offsets' log, ``log_id_from`` its topic's; empty if unknown.
    """

    highest_completed: int
    incomplete: tuple[int, ...] = ()
    failures: tuple[RecordFailures, ...] = ()
    log_id: bytes = b""


def encode(committed_offset: int, completion_map: CompletionMap) -> str:
    span = completion_map.highest_completed - committed_offset
    gaps = _encode_gaps(committed_offset, completion_map.incomplete)
    if (span + 7) // 8 < len(gaps):
        kind, payload = _BITSET, _encode_bitset(committed_offset, span, completion_map.incomplete)
    else:
        kind, payload = _GAPS, gaps
    if completion_map.failures:
        kind += _WITH_FAILURES
        failures = _encode_failures(committed_offset, completion_map.failures)
        payload = _encode_varint(len(payload)) + payload + failures
    if completion_map.log_id:
        kind += _OF_LOG
    content = bytes([kind]) + completion_map.log_id + _encode_varint(span) + payload
    sealed = _checksum(committed_offset, content) + content
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")


def decode(committed_offset: int, metadata: str) -> CompletionMap | None:
    """Read a commit's metadata; ``None`` if it is empty: nothing above the offset is complete.

    Raises:
        CompletionMapError: Another program's metadata, another version, damaged, or written for
            another offset (the committed offset was moved but the metadata kept).
    """
    if not metadata:
        return None
    opened = _open(committed_offset, metadata)
    if opened.is_bitset:
        incomplete = _decode_bitset(committed_offset, opened.payload)
    else:
        incomplete = _decode_gaps(committed_offset, opened.payload)
    failures = _decode_failures(committed_offset, opened.failures)
    return CompletionMap(committed_offset + opened.span, incomplete, failures, opened.log_id)


def count_incomplete(committed_offset: int, metadata: str) -> tuple[int, int] | None:
    """Return the highest completed offset, and how many offsets below it are incomplete.

    Like ``decode``, without the committed offset, but no list of offsets is made: thousands of maps
    are counted in a second.
    """
    if not metadata:
        return None
    opened = _open(committed_offset, metadata)
    if opened.is_bitset:
        incomplete = int.from_bytes(opened.payload, "little").bit_count()
    else:
        # A gap's last byte is the one below 0x80.
        incomplete = len(opened.payload.translate(None, _CONTINUED))
    return committed_offset + opened.span, incomplete


class _Opened(NamedTuple):
    log_id: bytes
    span: int
    is_bitset: bool
    payload: bytes
    failures: bytes


def _open(committed_offset: int, metadata: str) -> _Opened:
    try:
        sealed = base64.b64decode(
            metadata + "=" * (-len(metadata) % 4), altchars=b"-_", validate=True
        )
    except (binascii.Error, ValueError):
        raise CompletionMapError(
            "the commit metadata is not base64url: another program's?"
        ) from None
    checksum, content = sealed[:_CHECKSUM_BYTES], sealed[_CHECKSUM_BYTES:]
    if not content or checksum != _checksum(committed_offset, content):
        raise CompletionMapError(
            "the commit metadata does not fit its offset: damaged, another program's, "
            "or the offset was moved by hand"
        )
    kind, start, log_id = content[0], 1, b""
    if kind & _OF_LOG:
        kind -= _OF_LOG
        start += _LOG_ID_BYTES
        log_id = content[1:start]
    span, start = _decode_varint(content, start)
    end = len(content)
    if kind in (_GAPS + _WITH_FAILURES, _BITSET + _WITH_FAILURES):
        kind -= _WITH_FAILURES
        length, start = _decode_varint(content, start)
        end = start + length
    if kind not in (_GAPS, _BITSET):
        raise CompletionMapError(f"completion map version {kind:#04x} is not known to this release")
    payload = content[start:end]
    if kind == _BITSET and len(payload) != (span + 7) // 8:
        raise CompletionMapError("the completion map's bitset is shorter than its span")
    if kind == _GAPS and payload and payload[-1] >= 0x80:
        raise CompletionMapError("the completion map ends inside a number")
    return _Opened(log_id, span, kind == _BITSET, payload, content[end:])


def log_id_of(point: OffsetAndMetadata) -> bytes:
    try:
        return _open(*point).log_id if point.metadata else b""
    except CompletionMapError:
        return b""


def worst_of(
    committed_offset: int, failures: Iterable[RecordFailures], room_bytes: int
) -> tuple[RecordFailures, ...]:
    """Choose the failures to keep if there is room for some only, ascending by offset.

    The records that failed most often come first, then the lower offsets: they are nearest to their
    end. The others are retried by the next owner as if they had never failed. ``encode`` adds at
    most ``room_bytes`` for them, with their header.
    """
    by_weight = sorted(failures, key=lambda each: (-each.strikes, -each.attempts, each.offset))
    kept, too_many = 0, len(by_weight) + 1
    while too_many - kept > 1:
        tried = (kept + too_many) // 2
        encoded = _encode_failures(committed_offset, sorted(by_weight[:tried]))
        if _FAILURES_HEADER_BYTES + len(encoded) <= room_bytes:
            kept = tried
        else:
            too_many = tried
    return tuple(sorted(by_weight[:kept]))


def worst_case_characters(incomplete_records: int, span: int, failures_bytes: int = 0) -> int:
    """Bound the metadata's length, whatever subset of the incomplete records completes first.

    The gaps of k offsets in a span of S take 1 + floor(log2(gap)/7) bytes each. As the logarithm is
    concave, that is at most k + k*log2(S/k)/7, which grows with k: so the bound holds for every
    subset. The bitset takes S/8 bytes, and the shorter one is taken. ``span`` is the highest
    delivered offset minus the lowest incomplete one.
    """
    if incomplete_records <= 0 or (span <= 0 and not failures_bytes):
        return 0
    if span <= 0:
        return _characters(_HEADER_BYTES + failures_bytes)
    listed = min(incomplete_records, span)
    gaps_bytes = math.ceil(listed + listed * math.log2(span / listed) / 7)
    payload_bytes = min(gaps_bytes, (span + 7) // 8)
    return _characters(_HEADER_BYTES + payload_bytes + failures_bytes)


def _characters(encoded_bytes: int) -> int:
    return (encoded_bytes * 4 + 2) // 3


def _checksum(committed_offset: int, content: bytes) -> bytes:
    return zlib.crc32(content, committed_offset & 0xFFFFFFFF).to_bytes(_CHECKSUM_BYTES, "big")


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _decode_varint(content: bytes, start: int) -> tuple[int, int]:
    value = 0
    for index in range(start, min(len(content), start + _MAX_VARINT_BYTES)):
        value |= (content[index] & 0x7F) << (7 * (index - start))
        if content[index] < 0x80:
            return value, index + 1
    raise CompletionMapError("the completion map ends inside a number")


def _encode_gaps(committed_offset: int, incomplete: Sequence[int]) -> bytes:
    encoded = bytearray()
    previous = committed_offset
    for offset in incomplete:
        gap = offset - previous - 1
        if gap < 0x80:
            encoded.append(gap)
        else:
            encoded += _encode_varint(gap)
        previous = offset
    return bytes(encoded)


def _decode_gaps(committed_offset: int, content: bytes) -> tuple[int, ...]:
    incomplete = []
    offset, start = committed_offset, 0
    while start < len(content):
        gap = content[start]
        if gap < 0x80:
            start += 1
        else:
            gap, start = _decode_varint(content, start)
        offset += gap + 1
        incomplete.append(offset)
    return tuple(incomplete)


def _encode_bitset(committed_offset: int, span: int, incomplete: Sequence[int]) -> bytes:
    bits = bytearray((span + 7) // 8)
    for offset in incomplete:
        position = offset - committed_offset - 1
        bits[position >> 3] |= 1 << (position & 7)
    return bytes(bits)


def _decode_bitset(committed_offset: int, bits: bytes) -> tuple[int, ...]:
    first = committed_offset + 1
    return tuple(
        [
            first + (index << 3) + bit
            for index, byte in enumerate(bits)
            for bit in _BITS_OF_BYTE[byte]
        ]
    )


def _encode_failures(committed_offset: int, failures: Sequence[RecordFailures]) -> bytes:
    encoded = bytearray()
    previous = committed_offset - 1
    for each in failures:
        encoded += _encode_varint(each.offset - previous - 1)
        encoded += _encode_varint(min(each.attempts, _MOST_COUNTED))
        encoded += _encode_varint(min(each.strikes, _MOST_COUNTED))
        previous = each.offset
    return bytes(encoded)


def _decode_failures(committed_offset: int, content: bytes) -> tuple[RecordFailures, ...]:
    failures = []
    offset, start = committed_offset - 1, 0
    while start < len(content):
        gap, start = _decode_varint(content, start)
        attempts, start = _decode_varint(content, start)
        strikes, start = _decode_varint(content, start)
        offset += gap + 1
        failures.append(RecordFailures(offset, attempts, strikes))
    return tuple(failures)
