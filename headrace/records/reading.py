"""Reads topics without a group, in bounded memory: for people, scripts and dead letters."""

import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.client.connection import client_options, explaining_failures
from headrace_client.kafka.mending import space_out_empty_fetches
from headrace_client.wire.names import Place
from schemas.settings.file import KafkaSettings
from schemas.wire import headers
from schemas.wire.headers import Header

POLL_TIMEOUT_MS = 500
MAX_POLL_RECORDS = 500
FETCH_BYTES = 16 * 1024 * 1024
"""The size of a fetch from one broker; a larger record comes alone."""

_PLACE = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,9})/([0-9]{1,18})")


class MissingTopicError(Exception):
    """The topic does not exist; the message says how to create it."""


def parse_place(text: str) -> Place | None:
    """Read ``TOPIC/PARTITION/OFFSET``; ``None`` if the text has another form."""
    match = _PLACE.fullmatch(text)
    return None if match is None else Place(match[1], int(match[2]), int(match[3]))


@dataclass(frozen=True, slots=True)
class TopicRecord:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    timestamp_ms: int | None

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition, self.offset)

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


def source_of(record: TopicRecord) -> Place | None:
    """Return the place of the request that a result or dead letter is of."""
    source = headers.last_value(record.headers, headers.SOURCE) or b""
    return parse_place(source.decode(errors="replace"))


def _as_text(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


class LogRange(NamedTuple):
    """Offsets from ``start`` on and below ``end``."""

    start: int
    end: int


class LogPart(NamedTuple):
    """Some records of a partition in order, or none, and the offsets of all ranges read so far."""

    records: list[TopicRecord]
    passed_offsets: int


class LogReader:
    """A connection that reads committed records only; an async context manager.

    Every method raises ``SourceError``, with what to check, if the cluster cannot be read.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._consumer = AIOKafkaConsumer(
            **client_options(kafka),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=POLL_TIMEOUT_MS // 2,
            fetch_max_bytes=FETCH_BYTES,
        )

    async def __aenter__(self) -> Self:
        try:
            with explaining_failures(self._kafka, "connecting"):
                await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        if self._kafka.broker == "embedded":
            space_out_empty_fetches(self._consumer)
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self._consumer.stop()

    async def ranges(self, topic: str) -> dict[int, LogRange] | None:
        """Return the range of each partition; ``None`` if there is no such topic.

        A range ends at the first open transaction, if there is one.
        """
        # Through the admin client, because a consumer's request may create the topic.
        async with TopicAdmin(self._kafka) as admin:
            info = (await admin.describe_topics([topic]))[topic]
        if info is None:
            return None
        partitions = [TopicPartition(topic, number) for number in range(info.partitions)]
        with explaining_failures(self._kafka, f"reading {topic}"):
            starts = await self._consumer.beginning_offsets(partitions)
            ends = await self._consumer.end_offsets(partitions)
        return {each.partition: LogRange(starts[each], ends[each]) for each in partitions}

    async def offsets_since(
        self, topic: str, partitions: Iterable[int], epoch_ms: int
    ) -> dict[int, int | None]:
        """Return each partition's first offset with that timestamp or a later one, if any."""
        asked = {TopicPartition(topic, number): max(0, epoch_ms) for number in partitions}
        with explaining_failures(self._kafka, f"reading {topic}"):
            found = await self._consumer.offsets_for_times(asked)
        return {
            partition.partition: None if place is None else place.offset
            for partition, place in found.items()
        }

    async def read(
        self, topic: str, ranges: Mapping[int, LogRange], *, follow: bool = False
    ) -> AsyncGenerator[LogPart, None]:
        """Yield the records of the ranges, those of a partition in order.

        With ``follow`` it continues past their ends forever; an empty part says that nothing came.
        """
        wanted = {
            TopicPartition(topic, number): each
            for number, each in ranges.items()
            if follow or each.start < each.end
        }
        if not wanted:
            return
        with explaining_failures(self._kafka, f"reading {topic}"):
            self._consumer.assign(list(wanted))
            for partition, each in wanted.items():
                self._consumer.seek(partition, each.start)
            while True:
                # By position: offsets of transaction markers and compacted records never come.
                passed_offsets, is_behind = 0, follow
                for partition, each in wanted.items():
                    position = await self._consumer.position(partition)
                    is_behind = is_behind or position < each.end
                    passed_offsets += min(position, each.end) - each.start
                if not is_behind:
                    return
                batches = await self._consumer.getmany(
                    timeout_ms=POLL_TIMEOUT_MS, max_records=MAX_POLL_RECORDS
                )
                if not batches:
                    yield LogPart([], passed_offsets)
                for partition, records in batches.items():
                    each = wanted[partition]
                    yield LogPart(
                        [
                            TopicRecord(
                                topic=record.topic,
                                partition=record.partition,
                                offset=record.offset,
                                key=record.key,
                                value=record.value,
                                headers=tuple(record.headers),
                                timestamp_ms=record.timestamp,
                            )
                            for record in records
                            if follow or each.start <= record.offset < each.end
                        ],
                        passed_offsets,
                    )

    async def record_at(self, place: Place) -> TopicRecord | None:
        ranges = await self.ranges(place.topic)
        here = (ranges or {}).get(place.partition)
        if here is None or not here.start <= place.offset < here.end:
            return None
        only = {place.partition: LogRange(place.offset, place.offset + 1)}
        found = None
        async for part in self.read(place.topic, only):
            found = next(iter(part.records), found)
        return found


async def read_topic(
    kafka: KafkaSettings,
    topic: str,
    *,
    from_beginning: bool,
    follow: bool,
    since_ms: int | None = None,
) -> AsyncGenerator[TopicRecord | None, None]:
    """Yield a topic's records, from the oldest or the next one, or from a moment on.

    With ``follow`` it continues forever, and yields ``None`` now and then while nothing comes.
    Otherwise it ends with the last record that stood there at the start. Raises
    ``MissingTopicError``, and ``SourceError`` if the cluster cannot be read.
    """
    async with LogReader(kafka) as reader:
        ranges = await reader.ranges(topic)
        if ranges is None:
            raise MissingTopicError(f"there is no topic {topic}: `headrace topics create` makes it")
        if since_ms is not None:
            firsts = await reader.offsets_since(topic, ranges, since_ms)
            ranges = {
                number: LogRange(each.end if first is None else max(first, each.start), each.end)
                for number, each in ranges.items()
                for first in (firsts[number],)
            }
        elif not from_beginning:
            ranges = {number: LogRange(each.end, each.end) for number, each in ranges.items()}
        parts = reader.read(topic, ranges, follow=follow)
        async with aclosing(parts):
            async for part in parts:
                if follow and not part.records:
                    yield None
                for record in part.records:
                    yield record
