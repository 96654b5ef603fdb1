"""What brokers say of themselves and of topics, to find what is wrong there."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import errors
from aiokafka.protocol.admin import ApiVersionRequest, DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import Int8, Int16, Int32, Int64

from consumer.kafka.admin.group_lags import GroupLags
from consumer.kafka.client.cluster_client import ClusterClient, numbers_by_topic
from consumer.kafka.client.offsets import READ_UNCOMMITTED, ListOffsetsRequest
from consumer.kafka.client.structs import (
    NO_TAGS,
    TEXT,
    FlexibleRequest,
    array,
    request_struct,
)
from consumer.ports import TopicPartition
from schemas.settings.file import KafkaSettings

_CLIENT_ID = "headrace-doctor"
_REQUEST_TIMEOUT_MS = 10_000
_COORDINATOR_S = 8.0
_RETRY_S = 0.2
_BROKER, _TOPIC = 4, 2
"""Kinds of resources in DescribeConfigs."""
_NO_REPLICA = -1
_ANY_EPOCH = -1
_NEWEST = -3
"""By this timestamp ListOffsets asks for the record with the highest timestamp (KIP-734)."""

ListOffsetsRequest_v7 = request_struct(
    2,
    7,
    (
        ("replica_id", Int32),
        ("isolation_level", Int8),
        array(
            "topics",
            ("topic", TEXT),
            array(
                "partitions",
                ("partition", Int32),
                ("current_leader_epoch", Int32),
                ("timestamp", Int64),
            ),
        ),
    ),
    (
        ("throttle_time_ms", Int32),
        array(
            "topics",
            ("topic", TEXT),
            array(
                "partitions",
                ("partition", Int32),
                ("error_code", Int16),
                ("timestamp", Int64),
                ("offset", Int64),
                ("leader_epoch", Int32),
            ),
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCondition:
    """One topic that is there.

    Attributes:
        copies: The replicas of its partitions; the fewest.
        leaderless: Partitions without a leader.
        behind: Partitions of which a replica is not in sync.
        settings: What brokers say of its settings; empty where this user may not read them.
        newest_ms: The highest timestamp of its records (epoch milliseconds); ``None`` where there
            is none, or brokers do not say it.
    """

    partitions: int
    copies: int
    leaderless: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    newest_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCondition:
    """A cluster.

    Attributes:
        brokers: Their addresses.
        apis: The versions of each request that a broker takes, by its API key.
        settings: A broker's; empty where this user may not read them.
        topics: Those asked for that are there.
        transactional_ids_refused: Whether this user may not use transactional ids; ``None``: not
            asked.
    """

    brokers: Sequence[str]
    apis: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    topics: Mapping[str, TopicCondition] = field(default_factory=dict)
    transactional_ids_refused: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadAge:
    """Whether a group has left records that were written before two moments."""

    before_half: bool = False
    before_most: bool = False


async def examine(
    settings: KafkaSettings, topics: Collection[str], transactional_id: str | None
) -> ClusterCondition:
    """Ask the cluster; what this user may not know is left out.

    Raises ``SourceError`` or ``KafkaError`` if no broker answers.
    """
    client = ClusterClient(settings, _CLIENT_ID, _REQUEST_TIMEOUT_MS)
    try:
        await client.start(())
        response = await client.ask_any(MetadataRequest(list(topics), False))
        there = {each[1]: each[3] for each in response.topics if not each[0]}
        await client.find_topics(list(there))
        brokers = sorted(client.cluster.brokers(), key=lambda each: str(each.nodeId))
        found = await _settings(client, list(there))
        newest = await _newest(client, there)
        return ClusterCondition(
            brokers=[f"{each.host}:{each.port}" for each in brokers],
            apis=await _apis(client),
            settings=await _broker_settings(client, brokers[0].nodeId) if brokers else {},
            topics={
                topic: _condition(partitions, found.get(topic, {}), newest.get(topic))
                for topic, partitions in there.items()
            },
            transactional_ids_refused=await _refuses(client, transactional_id),
        )
    finally:
        await client.close()


async def unread_ages(
    settings: KafkaSettings, group: str, topic: str, half_ms: int, most_ms: int
) -> UnreadAge:
    """Return whether the group has left records from before these moments (epoch milliseconds)."""
    async with GroupLags(settings) as group_lags:
        lags = await group_lags.read(group, topic)
    unread = {
        each.partition: max(lag.committed.offset, lag.log_start)
        for each, lag in lags.items()
        if lag.committed is not None and lag.log_end > max(lag.committed.offset, lag.log_start)
    }
    if not unread:
        return UnreadAge()
    client = ClusterClient(settings, _CLIENT_ID, _REQUEST_TIMEOUT_MS)
    try:
        await client.start((topic,))
        wanted = [TopicPartition(topic, number) for number in unread]
        found = []
        for at_ms in (half_ms, most_ms):
            starts: dict[int, int] = {}
            for leader, led in client.leaders(wanted).items():
                if leader is not None:
                    numbers = [each.partition for each in led]
                    asked = ListOffsetsRequest(topic, numbers, at_ms, READ_UNCOMMITTED)
                    starts |= (await client.ask_broker(leader, asked)).offsets
            # Without a record from after that moment, all are from before it.
            found.append(
                any(start < 0 or unread[number] < start for number, start in starts.items())
            )
        return UnreadAge(before_half=found[0], before_most=found[1])
    finally:
        await client.close()


def _condition(
    partitions: Sequence[Any], settings: Mapping[str, str], newest_ms: int | None
) -> TopicCondition:
    leaderless, behind, copies = [], [], []
    for _code, number, leader, replicas, in_sync, *_rest in partitions:
        copies.append(len(replicas))
        if leader < 0:
            leaderless.append(number)
        elif len(in_sync) < len(replicas):
            behind.append(number)
    return TopicCondition(
        partitions=len(partitions),
        copies=min(copies, default=0),
        leaderless=tuple(sorted(leaderless)),
        behind=tuple(sorted(behind)),
        settings=settings,
        newest_ms=newest_ms,
    )


async def _apis(client: ClusterClient) -> dict[int, tuple[int, int]]:
    response = await client.ask_any(ApiVersionRequest())
    return {key: (least, most) for key, least, most in response.api_versions}


async def _settings(client: ClusterClient, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    if not topics:
        return {}
    request = DescribeConfigsRequest([(_TOPIC, topic, None) for topic in topics], False)
    try:
        return _values_of(await client.ask_any(request))
    except errors.KafkaError:
        return {}


async def _broker_settings(client: ClusterClient, broker: int) -> dict[str, str]:
    request = DescribeConfigsRequest([(_BROKER, str(broker), None)], False)
    try:
        return _values_of(await client.ask_broker(broker, request)).get(str(broker), {})
    except errors.KafkaError:
        return {}


def _values_of(response: Any) -> dict[str, dict[str, str]]:
    return {
        name: {key: value for key, value, *_ in entries if value is not None}
        for code, _message, _kind, name, entries in response.resources
        if not code
    }


async def _newest(client: ClusterClient, topics: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    wanted = [TopicPartition(topic, each[1]) for topic, all_ in topics.items() for each in all_]
    for leader, led in client.leaders(wanted).items():
        if leader is None:
            continue
        asked = [
            (topic, [(each, _ANY_EPOCH, _NEWEST, NO_TAGS) for each in numbers], NO_TAGS)
            for topic, numbers in numbers_by_topic(led)
        ]
        request = FlexibleRequest(ListOffsetsRequest_v7, _NO_REPLICA, READ_UNCOMMITTED, asked)
        try:
            response = await client.ask_broker(leader, request)
        except (errors.KafkaError, NotImplementedError):
            # Brokers before Kafka 3.0 do not know it.
            continue
        for topic, results, *_tags in response.topics:
            for _number, code, timestamp_ms, *_more in results:
                if not code and timestamp_ms >= 0:
                    found[topic] = max(found.get(topic, 0), timestamp_ms)
    return found


async def _refuses(client: ClusterClient, transactional_id: str | None) -> bool | None:
    """Look the id's coordinator up, which takes Describe on it; Write implies that."""
    if transactional_id is None:
        return None
    try:
        async with asyncio.timeout(_COORDINATOR_S):
            while True:
                try:
                    await client.find_transaction_coordinator(transactional_id)
                except errors.TransactionalIdAuthorizationFailed:
                    return True
                except errors.KafkaError as error:
                    # Brokers without a transaction so far make their internal topic first.
                    if not error.retriable:
                        return None
                    await asyncio.sleep(_RETRY_S)
                else:
                    return False
    except TimeoutError:
        return None
