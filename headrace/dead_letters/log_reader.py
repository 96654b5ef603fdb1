"""Reads ranges of a topic's log, without a group and in bounded memory."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.client import internals
from consumer.kafka.client.connection import client_options, explaining_failures
from headrace.dead_letters.letter import Place
from headrace.requests.reading import TopicRecord
from schemas.settings.file import KafkaSettings

POLL_TIMEOUT_MS = 500
MAX_POLL_RECORDS = 500
FETCH_BYTES = 16 * 1024 * 1024
"""What a fetch of one broker brings; a larger record comes alone."""


class LogRange(NamedTuple):
    """Offsets from ``start`` on and below ``end``."""

    start: int
    end: int


class LogPart(NamedTuple):
    """Some records of a log, and how far reading has come.

    Attributes:
        records: In the order of their offsets, of one partition.
        passed_offsets: Offsets that lie behind, of all ranges together.
    """

    records: list[TopicRecord]
    passed_offsets: int


class LogReader:
    """A reading connection; use it as an async context manager.

    Sees committed records only. Every method raises ``SourceError``, with what to check, where the
    cluster cannot be read.
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
            internals.space_out_empty_fetches(self._consumer)
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self._consumer.stop()

    async def ranges(self, topic: str) -> dict[int, LogRange] | None:
        """Return what each partition holds; ``None`` where there is no such topic.

        An end is where open transactions begin, if any is open.
        """
        # Through the admin client: a consumer's asking may create the topic.
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
        self, topic: str, ranges: Mapping[int, LogRange]
    ) -> AsyncGenerator[LogPart, None]:
        """Yield the records of the ranges, those of a partition in order; ends with the last."""
        ends = {
            TopicPartition(topic, number): each.end
            for number, each in ranges.items()
            if each.start < each.end
        }
        starts = {partition: ranges[partition.partition].start for partition in ends}
        if not ends:
            return
        with explaining_failures(self._kafka, f"reading {topic}"):
            self._consumer.assign(list(ends))
            for partition, start in starts.items():
                self._consumer.seek(partition, start)
            while True:
                passed_offsets, is_behind = 0, False
                for partition, end in ends.items():
                    position = await self._consumer.position(partition)
                    is_behind = is_behind or position < end
                    passed_offsets += min(position, end) - starts[partition]
                if not is_behind:
                    return
                batches = await self._consumer.getmany(
                    timeout_ms=POLL_TIMEOUT_MS, max_records=MAX_POLL_RECORDS
                )
                for partition, records in batches.items():
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
                            if starts[partition] <= record.offset < ends[partition]
                        ],
                        passed_offsets,
                    )

    async def record_at(self, place: Place) -> TopicRecord | None:
        """Return the record that stands there; ``None`` where none does any more."""
        ranges = await self.ranges(place.topic)
        here = (ranges or {}).get(place.partition)
        if here is None or not here.start <= place.offset < here.end:
            return None
        only = {place.partition: LogRange(place.offset, place.offset + 1)}
        found = None
        async for part in self.read(place.topic, only):
            found = next(iter(part.records), found)
        return found
