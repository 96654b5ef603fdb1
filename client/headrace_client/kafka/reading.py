"""Reads a topic without a group, from given offsets on, in bounded memory."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Iterable, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition, errors

from headrace_client.errors import KafkaError
from headrace_client.kafka.connecting import (
    client_options,
    explaining_failures,
    fetch_options,
    start_within_reach,
)
from headrace_client.kafka.identity import TopicIdentity
from headrace_client.kafka.mending import ended_task, mend_consumer, space_out_empty_fetches
from headrace_client.kafka.topics import TopicAdmin
from headrace_client.settings import Connection
from headrace_client.wire.names import Headers

log = logging.getLogger(__name__)

DEFAULT_FETCH_BYTES = 16 * 1024 * 1024
"""The most of one fetch from one broker; a larger record comes alone."""
_FETCH_WAIT_MS = 250
_LOOK_AGAIN_S = 5.0
"""How soon a topic that was made anew is noticed."""


class LogRange(NamedTuple):
    """Offsets from ``start`` on and below ``end``."""

    start: int
    end: int


class TopicRecord(NamedTuple):
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


class TopicReader:
    """Reads the committed records of one topic; an async context manager.

    ``KafkaError``, with what to check, means that the cluster refuses; while brokers are away
    nothing comes. Partitions that are added are read from their start. A partition whose position
    is gone (deleted records, a topic that was made anew) goes on from the start of its log.
    """

    def __init__(
        self, connection: Connection, topic: str, *, fetch_bytes: int = DEFAULT_FETCH_BYTES
    ) -> None:
        self.topic = topic
        self._connection = connection
        self._doing = f"reading {topic}"
        self._fetch_bytes = fetch_bytes
        self._consumer: AIOKafkaConsumer | None = None
        self._positions: dict[int, int] = {}
        self._identity = TopicIdentity(topic)
        self._looked_at_s = -math.inf
        self.breaks = 0
        """How often records were gone before they were read, or another topic had the name."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect; raises ``MissingTopicError`` and ``KafkaError``."""
        async with TopicAdmin(self._connection) as admin:
            await admin.require([self.topic])
        await self._connect()
        await self._look_for_new_topic()

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    @property
    def topic_id(self) -> str:
        """The id of the topic that has the name; empty where brokers give none."""
        return self._identity.hex

    @property
    def positions(self) -> dict[int, int]:
        """The next offset of each partition: all below were returned by ``read``."""
        return dict(self._positions)

    async def bounds(self) -> dict[int, LogRange]:
        """Return each partition's log as it stands now, up to the last committed record."""
        consumer = self._opened
        with explaining_failures(self._connection, self._doing):
            places = [TopicPartition(self.topic, each) for each in await self._numbers()]
            starts = await consumer.beginning_offsets(places)
            ends = await consumer.end_offsets(places)
        return {each.partition: LogRange(starts[each], ends[each]) for each in places}

    async def assign_ends(self) -> dict[int, int]:
        """Assign every partition from its end as it stands now, and return these offsets."""
        ends = {number: each.end for number, each in (await self.bounds()).items()}
        self.assign(ends)
        return ends

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from these offsets on."""
        self._positions = dict(positions)
        self._assign()

    async def read(self, timeout_s: float, max_records: int = 500) -> list[TopicRecord]:
        """Return records, those of a partition in order; none if nothing came for ``timeout_s``."""
        await self._look_for_new_topic()
        await self._add_partitions()
        consumer = self._opened
        if ended := ended_task(consumer):
            log.warning(
                "%s: %s; connecting again",
                self._doing,
                ended[0],
                extra={"event": "reading_retried", "topic": self.topic},
            )
            await self._connect()
            self._assign()
            consumer = self._opened
        try:
            with explaining_failures(self._connection, self._doing):
                fetched = await consumer.getmany(
                    timeout_ms=int(timeout_s * 1000), max_records=max_records
                )
        except KafkaError as error:
            if not isinstance(error.__cause__, errors.OffsetOutOfRangeError):
                raise
            await self._go_on_from_start(error.__cause__.args[0])
            return []
        records: list[TopicRecord] = []
        for place, batch in fetched.items():
            records.extend(
                TopicRecord(
                    place.partition, each.offset, each.key, each.value, each.headers, each.timestamp
                )
                for each in batch
            )
            self._positions[place.partition] = batch[-1].offset + 1
        return records

    async def scan(
        self, starts: Mapping[int, int], *, timeout_s: float = 0.5
    ) -> AsyncGenerator[list[TopicRecord], None]:
        """Yield what stands in the log from these offsets on, up to its end as it is now.

        A partition that is not named is read from its start, and one whose start lies beyond its
        end not at all.
        """
        bounds = await self.bounds()
        left = {
            number: LogRange(max(starts.get(number, 0), each.start), each.end)
            for number, each in bounds.items()
        }
        left = {number: each for number, each in left.items() if each.start < each.end}
        self.assign({number: each.start for number, each in left.items()})
        while left:
            records = await self.read(timeout_s)
            yield [
                each
                for each in records
                if each.partition in left and each.offset < left[each.partition].end
            ]
            for number in list(left):
                # By position: offsets of transaction markers and compacted records never come.
                place = TopicPartition(self.topic, number)
                if await self._opened.position(place) >= left[number].end:
                    del left[number]

    @property
    def _opened(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise KafkaError(f"{self._doing}: the reader is not open: use `async with`")
        return self._consumer

    async def _connect(self) -> None:
        await self.close()
        consumer = AIOKafkaConsumer(
            **client_options(self._connection),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            **fetch_options(self._connection, _FETCH_WAIT_MS),
            fetch_max_bytes=self._fetch_bytes,
            max_partition_fetch_bytes=self._fetch_bytes // 16,
        )
        mend_consumer(consumer)
        try:
            with explaining_failures(self._connection, self._doing):
                client = consumer._client  # noqa: SLF001 - there is no public way to it
                await start_within_reach(consumer.start(), client, self._doing)
                client.add_topic(self.topic)
                await client.force_metadata_update()
        except BaseException:
            await consumer.stop()
            raise
        space_out_empty_fetches(consumer)
        self._consumer = consumer

    async def _numbers(self) -> Iterable[int]:
        return sorted(self._opened.partitions_for_topic(self.topic) or ())

    def _assign(self) -> None:
        places = {TopicPartition(self.topic, number): at for number, at in self._positions.items()}
        self._opened.assign(list(places))
        for place, at in places.items():
            self._opened.seek(place, at)

    async def _look_for_new_topic(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._looked_at_s + _LOOK_AGAIN_S:
            return
        self._looked_at_s = now_s
        client = self._opened._client  # noqa: SLF001 - there is no public way to it
        if await self._identity.is_new(client):
            log.warning(
                "%s: the topic was made anew; reading it from its start",
                self._doing,
                extra={"event": "topic_made_anew", "topic": self.topic},
            )
            await client.force_metadata_update()
            self.breaks += 1
            self._positions = dict.fromkeys(await self._numbers(), 0)
            self._assign()

    async def _add_partitions(self) -> None:
        known = self._opened.partitions_for_topic(self.topic) or ()
        added = [number for number in known if number not in self._positions]
        if added:
            log.info(
                "%s: partitions %s are new",
                self._doing,
                sorted(added),
                extra={"event": "partitions_added", "topic": self.topic, "partitions": len(added)},
            )
            self._positions.update(dict.fromkeys(added, 0))
            self._assign()

    async def _go_on_from_start(self, gone: Iterable[TopicPartition]) -> None:
        bounds = await self.bounds()
        self.breaks += 1
        for place in gone:
            number = place.partition
            if number in bounds:
                log.warning(
                    "%s: offset %d of partition %d is gone; reading on from %d",
                    self._doing,
                    self._positions.get(number, 0),
                    number,
                    bounds[number].start,
                    extra={
                        "event": "offset_gone",
                        "topic": self.topic,
                        "partition": number,
                        "to_offset": bounds[number].start,
                    },
                )
                self._positions[number] = bounds[number].start
        self._assign()
