"""Checks whether a broker is ready: one Metadata request over a plain socket, no client library."""

import socket
import struct

from headrace.brokers.running import BrokerStartError

_METADATA_API_KEY = 3
_METADATA_VERSION = 1
_ALL_TOPICS = -1
_CORRELATION_ID = 1
_NO_CLIENT_ID = -1


def answers_metadata(host: str, port: int, timeout_s: float = 1.0) -> bool:
    body = struct.pack(
        ">hhihi", _METADATA_API_KEY, _METADATA_VERSION, _CORRELATION_ID, _NO_CLIENT_ID, _ALL_TOPICS
    )
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            # Size, correlation id, then the array of brokers, which starts with its length.
            head = _receive(connection, 12)
    except OSError:
        return False
    if len(head) < 12:
        return False
    _size, correlation_id, brokers = struct.unpack(">iii", head)
    return bool(correlation_id == _CORRELATION_ID and brokers > 0)


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def choose_port(port: int, host: str = "127.0.0.1") -> int:
    """Return ``port``, or a free one if it is 0; raises ``BrokerStartError`` if it is in use.

    An answer of the other listener would pass for the broker's.
    """
    if port == 0:
        return free_port(host)
    with socket.socket() as probe:
        # Connections of an earlier broker may linger; they are not listeners.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BrokerStartError(
                f"cannot listen on {host}:{port}: {error.strerror}; stop what listens there, or "
                "set another port in kafka.bootstrap"
            ) from error
    return port


def _receive(connection: socket.socket, size_bytes: int) -> bytes:
    received = b""
    while len(received) < size_bytes:
        part = connection.recv(size_bytes - len(received))
        if not part:
            break
        received += part
    return received
