"""Kafka around a measurement: new topics, a backlog published fast, results counted and timed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from handoff.clock import SystemClock

PARTITIONS = 4
"""Of every topic here."""
BATCH_BYTES = 256 * 1024
COUNT_EVERY_S = 0.1
STALLED_AFTER_S = 120.0
READ_STALLED_AFTER_S = 10.0
READ_POLL_MS = 200
OK_STATUS = 200
_OK = b'"status_code":%d' % OK_STATUS

Headers = Sequence[tuple[str, bytes]]
IsolationLevel = Literal["read_uncommitted", "read_committed"]


@dataclass(frozen=True, slots=True)
class Topics:
    """New topics of one measurement.

    Attributes:
        requests: Where the backlog goes.
        results: Where results are counted.
        dead_letters: Must stay empty.
    """

    requests: str
    results: str
    dead_letters: str

    @property
    def names(self) -> tuple[str, str, str]:
        """All three."""
        return self.requests, self.results, self.dead_letters

    @property
    def group(self) -> str:
        """The consumer group that reads the requests."""
        return f"{self.requests}-group"


class BenchmarkFailedError(Exception):
    """A measurement failed; the message says where it stopped."""


@dataclass(slots=True)
class TopicContent:
    """What is on a results topic.

    Attributes:
        timestamps_ms: Epoch milliseconds of each record.
        keys: The key of each record, in the same order.
        not_ok_records: Records without a response of status 200.
    """

    timestamps_ms: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    not_ok_records: int = 0

    @property
    def distinct_keys(self) -> frozenset[bytes]:
        """The keys, each once."""
        return frozenset(self.keys)


async def create_topics(bootstrap: str, topics: Sequence[str]) -> None:
    """Create topics of ``PARTITIONS`` partitions each; return when their leaders answer.

    Raises:
        BenchmarkFailedError: The broker refused one.
    """
    async with _admin(bootstrap) as admin:
        response = await admin.create_topics(
            [NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1) for topic in topics]
        )
    for topic, code, *message in response.topic_errors:
        if code:
            raise BenchmarkFailedError(f"topic {topic} was not created: error {code} {message}")
    async with _reader(bootstrap) as reader:
        for topic in topics:
            await _count(reader, topic)


async def delete_topics(bootstrap: str, topics: Iterable[str]) -> None:
    """Delete topics; a broker that cannot keeps them."""
    try:
        async with _admin(bootstrap) as admin:
            await admin.delete_topics(list(topics))
    except (KafkaError, NotImplementedError):
        return


async def publish(
    bootstrap: str, topic: str, values: Iterable[bytes], headers: Headers = ()
) -> int:
    """Publish values to the partitions in turn, in large batches, and return how many.

    Each record's key is its number, to tell results apart.

    Args:
        bootstrap: The broker.
        topic: The topic.
        values: The records' values.
        headers: Of each record.
    """
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=BATCH_BYTES, acks=1)
    await producer.start()
    try:
        return await _publish(producer, topic, values, headers)
    finally:
        await producer.stop()


async def count_records(bootstrap: str, topic: str) -> int:
    """Return how many records were ever written to a topic without transactions."""
    async with _reader(bootstrap) as reader:
        return await _count(reader, topic)


async def wait_for_records(
    bootstrap: str,
    topic: str,
    records: int,
    *,
    on_count: Callable[[int], None] = lambda _count: None,
    count_every_s: float = COUNT_EVERY_S,
) -> None:
    """Return when a topic holds ``records`` records or more, by its end offsets alone.

    Raises:
        BenchmarkFailedError: None was added for ``STALLED_AFTER_S``.
    """
    async with _reader(bootstrap) as reader:

        async def count() -> int:
            found = await _count(reader, topic)
            on_count(found)
            return found

        await _wait_until_counted(count, records, what=topic, count_every_s=count_every_s)


async def wait_for_commits(bootstrap: str, topics: Topics, records: int) -> None:
    """Return when the group has committed ``records`` requests or more.

    Unlike ``wait_for_records`` it is right for a results topic that is written in transactions,
    whose end offsets count transaction markers too. It reads no records meanwhile.

    Raises:
        BenchmarkFailedError: None was committed for ``STALLED_AFTER_S``.
    """
    async with _admin(bootstrap) as admin:

        async def count() -> int:
            points = await admin.list_consumer_group_offsets(topics.group)
            return sum(max(point.offset, 0) for point in points.values())

        what = f"what group {topics.group} has committed"
        await _wait_until_counted(count, records, what=what, count_every_s=COUNT_EVERY_S)


async def _wait_until_counted(
    count: Callable[[], Awaitable[int]], records: int, *, what: str, count_every_s: float
) -> None:
    clock = SystemClock()
    before, moved_at_s = -1, clock.monotonic()
    while (counted := await count()) < records:
        now_s = clock.monotonic()
        if counted > before:
            before, moved_at_s = counted, now_s
        elif now_s - moved_at_s > STALLED_AFTER_S:
            raise BenchmarkFailedError(
                f"{what} stayed at {counted:,} of {records:,} records for {STALLED_AFTER_S:.0f} s"
            )
        await asyncio.sleep(count_every_s)


async def read_topic(
    bootstrap: str, topic: str, isolation_level: IsolationLevel = "read_uncommitted"
) -> TopicContent:
    """Read all that is on a topic now.

    Args:
        bootstrap: The broker.
        topic: The topic.
        isolation_level: With ``read_committed``, records of aborted transactions are left out, and
            records behind an open transaction are not reached.

    Raises:
        BenchmarkFailedError: The reader got no further for ``READ_STALLED_AFTER_S``.
    """
    content = TopicContent()
    clock = SystemClock()
    async with _reader(bootstrap, isolation_level) as reader:
        partitions = _partitions(topic)
        ends = await reader.end_offsets(partitions)
        reader.assign(partitions)
        await reader.seek_to_beginning(*partitions)
        before, moved_at_s = -1, clock.monotonic()
        while True:
            # By positions: transaction markers have offsets and are not records.
            read = {each: await reader.position(each) for each in partitions}
            if all(read[each] >= ends[each] for each in partitions):
                return content
            now_s, position = clock.monotonic(), sum(read.values())
            if position > before:
                before, moved_at_s = position, now_s
            elif now_s - moved_at_s > READ_STALLED_AFTER_S:
                raise BenchmarkFailedError(
                    f"{topic}: {sum(ends.values()) - position:,} offsets could not be read back"
                )
            fetched = await reader.getmany(timeout_ms=READ_POLL_MS)
            for records in fetched.values():
                for record in records:
                    content.timestamps_ms.append(record.timestamp)
                    content.keys.append(record.key or b"")
                    content.not_ok_records += _OK not in (record.value or b"")


def check_results(content: TopicContent, records: int, *, expect_ok: bool = True) -> None:
    """Check that a results topic answers its requests: a number that leaves work out is useless.

    Raises:
        BenchmarkFailedError: Results are missing, repeated or of a status other than 200.
    """
    found, distinct = len(content.timestamps_ms), len(content.distinct_keys)
    if found != records or distinct != records:
        raise BenchmarkFailedError(
            f"{records:,} requests gave {found:,} results of {distinct:,} requests"
        )
    if expect_ok and content.not_ok_records:
        raise BenchmarkFailedError(
            f"{content.not_ok_records:,} of {records:,} results are not of status 200"
        )


@asynccontextmanager
async def asking(
    bootstrap: str, topics: Topics
) -> AsyncIterator[tuple[AIOKafkaProducer, AIOKafkaConsumer]]:
    """Yield a producer of requests, and a reader that sees the results from now on."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False)
    partitions = _partitions(topics.results)
    await producer.start()
    await reader.start()
    try:
        reader.assign(partitions)
        await reader.seek_to_end(*partitions)
        for partition in partitions:
            await reader.position(partition)
        yield producer, reader
    finally:
        await reader.stop()
        await producer.stop()


def check_ok(content: TopicContent, records: int) -> None:
    """Check like ``check_results``, for rounds that share a topic and so the keys of requests.

    Raises:
        BenchmarkFailedError: Results are missing, too many or of a status other than 200.
    """
    found = len(content.timestamps_ms)
    if found != records or content.not_ok_records:
        raise BenchmarkFailedError(
            f"{records:,} requests gave {found:,} results, {content.not_ok_records:,} of them "
            "not of status 200"
        )


async def _publish(
    producer: AIOKafkaProducer, topic: str, values: Iterable[bytes], headers: Headers
) -> int:
    builders = [producer.create_batch() for _ in range(PARTITIONS)]
    deliveries: list[asyncio.Future[object]] = []
    listed = list(headers)  # which aiokafka expects
    number = -1
    for number, value in enumerate(values):
        partition = number % PARTITIONS
        key = b"%d" % number
        record = {"timestamp": None, "key": key, "value": value, "headers": listed}
        if builders[partition].append(**record) is None:
            full, builders[partition] = builders[partition], producer.create_batch()
            deliveries.append(await producer.send_batch(full, topic, partition=partition))
            builders[partition].append(**record)
    for partition, builder in enumerate(builders):
        if builder.record_count():
            deliveries.append(await producer.send_batch(builder, topic, partition=partition))
    await asyncio.gather(*deliveries)
    return number + 1


def _partitions(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for partition in range(PARTITIONS)]


async def _count(reader: AIOKafkaConsumer, topic: str) -> int:
    ends = await reader.end_offsets(_partitions(topic))
    return int(sum(ends.values()))


@asynccontextmanager
async def _reader(
    bootstrap: str, isolation_level: IsolationLevel = "read_uncommitted"
) -> AsyncIterator[AIOKafkaConsumer]:
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        isolation_level=isolation_level,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
