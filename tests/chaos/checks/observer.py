"""Reads requests, results and dead letters as they are committed, and the group's progress.

The order in which the checker gets them proves something: it gets a committed offset only when the
reader has passed the ends that the topics had after the offset was read.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition

from consumer.kafka.client import internals
from handoff.clock import SystemClock
from schemas.settings.file import RouteSettings
from schemas.wire import headers
from tests.chaos.checks.checker import Checker
from tests.chaos.checks.contents import Contents, Message, is_given_up
from tests.chaos.checks.incarnations import Incarnations
from tests.chaos.load.records import expectation

log = logging.getLogger(__name__)

_POLL_EVERY_S = 0.25
_REQUEST_TIMEOUT_MS = 8_000
_ASK_TIMEOUT_S = 12.0
_PASS_PATIENCE_S = 10.0
"""Longer than a transaction lives without its producer, so most committed offsets are judged."""

Committed = dict[int, tuple[int, str]]
"""Offset and metadata by partition."""


class Observer:
    """A concurrent reader with ``read_committed``, and a poll of the committed offsets.

    Args:
        bootstrap: The cluster, bypassing the proxies.
        route: Whose topics and group.
        checker: Gets what is seen.
    """

    def __init__(self, bootstrap: str, route: RouteSettings, checker: Checker) -> None:
        self._bootstrap = bootstrap
        self._route = route
        self._checker = checker
        self._contents = Contents(route.requests_topic)
        self._clock = SystemClock()
        self._incarnations = Incarnations()
        self._tasks: list[asyncio.Task[None]] = []
        self._reader: AIOKafkaConsumer | None = None
        self._latest_of_key: dict[tuple[int, bytes], int] = {}
        self.committed: Committed = {}
        self.points_checked = 0
        self.longest_metadata_characters = 0
        self.is_checking = True

    async def start(self) -> None:
        route = self._route
        topics = [route.requests_topic, route.results_topic, route.dead_letters_topic]
        async with _admin(self._bootstrap) as admin:
            described = await admin.describe_topics(topics)
        self._reader = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            metadata_max_age_ms=5_000,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        await self._reader.start()
        # A subscription would read all topics from the start again when one is deleted.
        self._reader.assign(
            [
                TopicPartition(topic["topic"], each["partition"])
                for topic in described
                for each in topic["partitions"]
            ]
        )
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._poll())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._reader is not None:
            await self._reader.stop()

    def check(self) -> None:
        """Raise the error that ended a loop, if any."""
        for task in self._tasks:
            if task.done():
                task.result()

    def log(self, partition: int) -> int:
        """Return the checker's current number of a partition of the requests topic."""
        return self._incarnations.log(partition)

    def recreated(self, drawn: int) -> None:
        """Read the requests topic from its start: it is another one, and still empty.

        Args:
            drawn: How many names of records had been drawn before.
        """
        self._incarnations.recreated(drawn)
        self._latest_of_key.clear()
        for partition in self._partitions():
            if partition.topic == self._route.requests_topic:
                self._started().seek(partition, 0)

    async def caught_up(self, patience_s: float) -> bool:
        """Return when everything that the topics hold now has been seen.

        Returns:
            False if that did not happen in time: an open transaction blocks a partition.
        """
        try:
            async with asyncio.timeout(patience_s):
                await self._passed(await self._ends())
        except TimeoutError:
            return False
        return True

    async def _ends(self) -> dict[TopicPartition, int]:
        """Ask until there is an answer: a partition may have no leader for a moment."""
        while True:
            try:
                async with _asking(self._bootstrap) as asker:
                    ends: dict[TopicPartition, int] = await asker.end_offsets(self._partitions())
            except KafkaError as error:
                log.info("asking for the topics' ends again after %r", error)
            else:
                return ends

    async def undecided(self) -> list[str]:
        """Return the partitions that an open transaction blocks."""
        partitions = self._partitions()
        async with _asking(self._bootstrap) as asker:
            ends = await asker.end_offsets(partitions)
        async with _asking(self._bootstrap, "read_committed") as asker:
            stable = await asker.end_offsets(partitions)
        return [f"{each.topic}/{each.partition}" for each in ends if stable[each] < ends[each]]

    def _partitions(self) -> list[TopicPartition]:
        return sorted(self._started().assignment())

    def _started(self) -> AIOKafkaConsumer:
        if self._reader is None:
            raise RuntimeError("the observer was not started")
        return self._reader

    async def _passed(self, ends: dict[TopicPartition, int]) -> None:
        reader = self._started()
        for partition, end in ends.items():
            while (internals.position(reader, partition) or 0) < end:
                await asyncio.sleep(0.02)
        # The checker may not have what was fetched last.
        await asyncio.sleep(0)

    async def _read(self) -> None:
        reader = self._started()
        while True:
            try:
                fetched = await reader.getmany(timeout_ms=200)
            except KafkaError as error:
                log.info("the reader goes on after %r", error)
                continue
            for records in fetched.values():
                for record in records:
                    self._take(record)

    def _take(self, record: ConsumerRecord) -> None:
        at_s = record.timestamp / 1000
        message = Message(record.key, record.value)
        if record.topic == self._route.requests_topic:
            position = self._incarnations.position(record.partition, record.offset, record.key)
            self._checker.accepted(position, expectation(record.value), at_s)
            superseded = self._latest_of_key.get((position[0], record.key))
            if superseded is not None:
                # The topic is compacted: a later reader may find only the latest.
                self._checker.excuse_loss([(position[0], superseded)])
            self._latest_of_key[(position[0], record.key)] = record.offset
            self._tell(self._contents.request(position, message))
            return
        source = self._incarnations.position(*_source(record), record.key)
        if record.topic == self._route.results_topic:
            self._checker.result(source, at_s, is_given_up=is_given_up(record.value))
            wrong = self._contents.result(source, message)
        else:
            self._checker.dead_letter(source, at_s)
            wrong = self._contents.dead_letter(source, message)
        self._tell([] if wrong is None else [wrong])

    def _tell(self, wrong: list[str]) -> None:
        for detail in wrong:
            self._checker.failed("wrong_content", detail)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_EVERY_S)
            try:
                async with _asking(self._bootstrap) as asker, _admin(self._bootstrap) as admin:
                    while True:
                        await self._check_once(asker, admin)
                        await asyncio.sleep(_POLL_EVERY_S)
            except (KafkaError, TimeoutError, OSError) as error:
                log.info("asking again after %r", error)
                self._checker.time_passed(self._clock.epoch_ms() / 1000)

    async def _check_once(self, asker: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            points = await read_committed_points(admin, self._route)
            ends = await asker.end_offsets(self._partitions())
        self.committed = points
        is_checking, incarnation = self.is_checking, self._incarnations.number
        try:
            async with asyncio.timeout(_PASS_PATIENCE_S):
                await self._passed(ends)
        except TimeoutError:
            # An open transaction blocks the reader. What it has not seen proves nothing against the
            # committed offsets, but a partition may stand still because of it.
            log.info("the reader has not passed %s", ends)
        else:
            is_same = incarnation == self._incarnations.number
            if is_checking and self.is_checking and is_same:
                self._check_points(points)
        self._checker.time_passed(self._clock.epoch_ms() / 1000)

    def _check_points(self, points: Committed) -> None:
        for partition, (offset, metadata) in points.items():
            longest = max(self.longest_metadata_characters, len(metadata))
            self.longest_metadata_characters = longest
            self._checker.committed(self.log(partition), offset, metadata)
            self.points_checked += 1


async def read_committed_points(admin: AIOKafkaAdminClient, route: RouteSettings) -> Committed:
    """Return what the group has committed for the requests topic."""
    found = await admin.list_consumer_group_offsets(route.group)
    return {
        each.partition: (point.offset, point.metadata or "")
        for each, point in found.items()
        if each.topic == route.requests_topic and point.offset >= 0
    }


def _source(record: ConsumerRecord) -> tuple[int, int]:
    """Return the position of the request of an outcome: the last such header counts."""
    for name, value in reversed(record.headers):
        if name == headers.SOURCE:
            _topic, partition, offset = value.decode().rsplit("/", 2)
            return int(partition), int(offset)
    raise ValueError(f"{record.topic}/{record.partition}/{record.offset} names no source")


@contextlib.asynccontextmanager
async def _asking(
    bootstrap: str, isolation_level: str = "read_uncommitted"
) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        isolation_level=isolation_level,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


@contextlib.asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
