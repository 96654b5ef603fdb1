"""Frames between a replica and its front processes: columns of bytes, without pickle.

A frame is a list of fields. On the wire it is the number of fields, their lengths (64-bit, little
endian), then the fields one after the other.
"""

import socket
import struct
from collections.abc import Sequence

Field = bytes | bytearray | memoryview

MOST_FRAME_BYTES = 4 * 1024 * 1024 * 1024
_COUNT = struct.Struct("<Q")
_MOST_FIELDS = 64


class PeerGoneError(ConnectionError):
    """The process at the other end has ended."""


def send_frame(connection: socket.socket, fields: Sequence[Field]) -> None:
    """Send a frame; ``PeerGoneError`` if nobody reads it."""
    head = struct.pack(f"<{1 + len(fields)}Q", len(fields), *map(_length, fields))
    try:
        connection.sendall(b"".join([head, *fields]))
    except OSError as error:
        raise PeerGoneError(str(error)) from error


def receive_frame(connection: socket.socket) -> list[memoryview]:
    """Wait for a frame and return its fields; ``PeerGoneError`` at the end of the stream."""
    (fields,) = _COUNT.unpack(_receive(connection, _COUNT.size))
    if fields > _MOST_FIELDS:
        raise PeerGoneError(f"a frame of {fields} fields: the other end speaks something else")
    lengths = struct.unpack(f"<{fields}Q", _receive(connection, fields * _COUNT.size))
    whole = sum(lengths)
    if whole > MOST_FRAME_BYTES:
        raise PeerGoneError(f"a frame of {whole} bytes is over {MOST_FRAME_BYTES}")
    content = memoryview(_receive(connection, whole))
    received, start = [], 0
    for length in lengths:
        received.append(content[start : start + length])
        start += length
    return received


def join_parts(parts: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the lengths of byte strings, as 64-bit integers, and the strings in one."""
    return struct.pack(f"<{len(parts)}Q", *map(len, parts)), b"".join(parts)


def split_parts(lengths: memoryview, content: memoryview) -> list[bytes]:
    """Undo ``join_parts``."""
    parts, start = [], 0
    for (length,) in _COUNT.iter_unpack(lengths):
        parts.append(bytes(content[start : start + length]))
        start += length
    return parts


def _length(field: Field) -> int:
    return field.nbytes if isinstance(field, memoryview) else len(field)


def _receive(connection: socket.socket, length: int) -> bytearray:
    content = bytearray(length)
    view = memoryview(content)
    start = 0
    while start < length:
        try:
            received = connection.recv_into(view[start:])
        except OSError as error:
            raise PeerGoneError(str(error)) from error
        if not received:
            raise PeerGoneError("the other end was closed")
        start += received
    return content
