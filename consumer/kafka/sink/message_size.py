"""Which messages the broker takes: each is measured before it is sent.

An idempotent producer whose batch was refused has to be replaced, so that a message over the limit
must never reach the broker.
"""

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from consumer.ports import Message

DEFAULT_LIMIT_BYTES = 1_048_588
"""Kafka's own default of ``max.message.bytes``: 1 MiB and a batch's header."""

LARGEST_REQUEST_BYTES = 100 * 1024 * 1024 - 64 * 1024
"""The brokers' default ``socket.request.max.bytes``, less room for the request around a batch."""


def batch_size_bytes(message: Message) -> int:
    """Return an upper bound of the size of a batch of this message alone, uncompressed."""
    size: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(
        message.key, message.value, message.headers
    )
    return size


def explain_too_large(message: Message, size_bytes: int, limit_bytes: int) -> str:
    return (
        f"{size_bytes} bytes with key and headers are over the {limit_bytes} that topic "
        f"{message.topic} takes (max.message.bytes)"
    )
