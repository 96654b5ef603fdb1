"""The lag of consumer groups, read from outside the groups."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Self

from aiokafka import errors

from consumer.kafka.client.cluster_client import ClusterClient
from consumer.kafka.client.connection import explaining_failures
from consumer.kafka.client.offsets import (
    EARLIEST,
    LATEST,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    CommittedOffsetsRequest,
    ListOffsetsRequest,
    read_points,
)
from consumer.kafka.transactions.errors import COORDINATOR_GONE
from consumer.ports import Lag, OffsetAndMetadata, TopicPartition
from schemas.settings.file import KafkaSettings

_CLIENT_ID = "headrace-lag"
_REQUEST_TIMEOUT_MS = 10_000
_TIMEOUT_S = 20.0
_RETRY_S = 0.25


class GroupLags:
    """Reads groups' lags over one client, which connects with the first reading and stays.

    Use it as an async context manager. It asks for topics by name, which does not create them.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: ClusterClient | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def read(
        self, group: str, topic: str, timeout_s: float = _TIMEOUT_S
    ) -> dict[TopicPartition, Lag]:
        """Return a group's lag in each partition of a topic; empty if there is no such topic.

        A log ends where a consumer's reading does: at the first record of an open transaction. The
        records behind it are counted apart. Leaders and the coordinator may be away for
        ``timeout_s``. A missing answer is a ``SourceError`` and never counts as 'no commit'.
        """
        failure: errors.KafkaError = errors.KafkaTimeoutError(
            f"Kafka did not answer within {timeout_s:g} s"
        )
        with explaining_failures(self._settings, f"asking for the lag of {group} in {topic}"):
            try:
                async with asyncio.timeout(timeout_s):
                    client = await self._connect()
                    while True:
                        try:
                            return await _read(client, group, topic)
                        except errors.KafkaError as error:
                            if not error.retriable:
                                raise
                            failure = error
                        client.forget_coordinators(group)
                        await client.learn_leaders()
                        await asyncio.sleep(_RETRY_S)
            except TimeoutError:
                raise failure from None

    async def _connect(self) -> ClusterClient:
        async with self._connecting:
            if self._client is None:
                client = ClusterClient(self._settings, _CLIENT_ID, _REQUEST_TIMEOUT_MS)
                try:
                    await client.start(())
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client


async def _read(client: ClusterClient, group: str, topic: str) -> dict[TopicPartition, Lag]:
    numbers = await client.find_partitions(topic)
    if not numbers:
        return {}
    partitions = [TopicPartition(topic, number) for number in numbers]
    led: dict[int, Sequence[TopicPartition]] = {}
    for leader, found in client.leaders(partitions).items():
        if leader is None:
            leaderless = [each.partition for each in found]
            raise errors.LeaderNotAvailableError(f"{topic}: no leader of partitions {leaderless}")
        led[leader] = found
    points = await _points(client, group, topic, numbers)
    starts = await _offsets(client, led, EARLIEST, READ_UNCOMMITTED)
    ends = await _offsets(client, led, LATEST, READ_COMMITTED)
    high_watermarks = await _offsets(client, led, LATEST, READ_UNCOMMITTED)
    return {
        each: Lag(starts[number], ends[number], points[each], high_watermarks[number])
        for each, number in zip(partitions, numbers, strict=True)
    }


async def _points(
    client: ClusterClient, group: str, topic: str, numbers: Sequence[int]
) -> Mapping[TopicPartition, OffsetAndMetadata | None]:
    request = CommittedOffsetsRequest(group, [(topic, list(numbers))], require_stable=False)
    codes, points = read_points(await client.ask_group(group, request))
    _raise_for(codes - COORDINATOR_GONE, f"group {group}, topic {topic}")
    missing = [number for number in numbers if TopicPartition(topic, number) not in points]
    if missing:
        raise errors.GroupCoordinatorNotAvailableError(
            f"the coordinator of group {group} does not answer for partitions {missing}: it loads "
            "their offsets or moves; ask again"
        )
    return points


async def _offsets(
    client: ClusterClient,
    led: Mapping[int, Sequence[TopicPartition]],
    timestamp: int,
    isolation_level: int,
) -> dict[int, int]:
    found: dict[int, int] = {}
    for leader, partitions in led.items():
        topic = partitions[0].topic
        numbers = [each.partition for each in partitions]
        request = ListOffsetsRequest(topic, numbers, timestamp, isolation_level)
        answer = await client.ask_broker(leader, request)
        _raise_for(answer.codes, f"broker {leader}, topic {topic}")
        found |= answer.offsets
    return found


def _raise_for(codes: set[int], about: str) -> None:
    for code in sorted(codes - {0}):
        raise errors.for_code(code)(about)
