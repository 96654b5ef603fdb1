"""Reads a topic without a group, for people and scripts that look at results."""

from base64 import b64encode
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.client import internals
from consumer.kafka.client.connection import client_options, explaining_failures
from schemas.settings.file import KafkaSettings
from schemas.wire.headers import Header

POLL_TIMEOUT_MS = 500
MAX_POLL_RECORDS = 500


class MissingTopicError(Exception):
    """The topic does not exist; says how to create it."""


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """One record as it was read, with its headers."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    timestamp_ms: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values; bytes that are not UTF-8 as ``{"base64": ...}``."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp_ms": self.timestamp_ms,
            "key": _as_text(self.key),
            "headers": {name: _as_text(value) for name, value in self.headers},
            "value": _as_text(self.value),
        }


def _as_text(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


async def read_topic(
    kafka: KafkaSettings, topic: str, *, from_beginning: bool, follow: bool
) -> AsyncGenerator[TopicRecord | None, None]:
    """Yield a topic's records as they come.

    Args:
        kafka: The cluster.
        topic: Which.
        from_beginning: Start with the oldest record that is kept; else with the next one.
        follow: Go on for ever, yielding ``None`` now and then while nothing comes; else end with
            the last record that stood there at the start.

    Raises:
        MissingTopicError: There is no such topic.
        SourceError: The cluster cannot be read; says what to check.
    """
    async with TopicAdmin(kafka) as admin:
        info = (await admin.describe_topics([topic]))[topic]
    if info is None:
        raise MissingTopicError(f"there is no topic {topic}: `headrace topics create` makes it")
    partitions = [TopicPartition(topic, number) for number in range(info.partitions)]
    with explaining_failures(kafka, f"reading {topic}"):
        consumer = AIOKafkaConsumer(
            **client_options(kafka),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=POLL_TIMEOUT_MS // 2,
        )
        try:
            await consumer.start()
            if kafka.broker == "embedded":
                internals.space_out_empty_fetches(consumer)
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            starts = await consumer.beginning_offsets(partitions) if from_beginning else ends
            for partition in partitions:
                consumer.seek(partition, starts[partition])
            while follow or await _is_behind(consumer, ends):
                batches = await consumer.getmany(
                    timeout_ms=POLL_TIMEOUT_MS, max_records=MAX_POLL_RECORDS
                )
                if not batches and follow:
                    yield None
                for partition, records in batches.items():
                    for record in records:
                        # While it is read, more may be written: that is what follow is for.
                        if follow or record.offset < ends[partition]:
                            yield _as_read(record)
        finally:
            await consumer.stop()


def _as_read(record: ConsumerRecord) -> TopicRecord:
    return TopicRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        timestamp_ms=record.timestamp,
    )


async def _is_behind(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    """Tell by position: offsets of transaction markers and compacted records never come."""
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return True
    return False
