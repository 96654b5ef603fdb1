"""Requests to a partition's leader or to a coordinator, wherever it is now.

aiokafka's producer sends these too, but takes one client for each transactional id. This client
serves all of them, and raises if a request has no response.
"""

import logging
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import CloseReason
from aiokafka.protocol.api import Request
from aiokafka.protocol.metadata import MetadataRequest

from consumer.engine.waiting import waits
from consumer.kafka.client.connection import client_options
from consumer.kafka.client.reach import within_reach
from consumer.ports import TopicPartition
from headrace_client.kafka.mending import mend_client
from headrace_client.kafka.reach import contact
from schemas.settings.file import KafkaSettings

log = logging.getLogger(__name__)

_LONGEST_REQUEST_MS = 10_000
_NO_LEADER = -1


class ClusterClient:
    """An aiokafka client that finds leaders and coordinators.

    It asks for topics by name and does not create them. A response may take ``request_timeout_ms``,
    at most 10 s. ``disruptions`` counts broken connections and moved coordinators.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, request_timeout_ms: int) -> None:
        self.request_timeout_ms = min(request_timeout_ms, _LONGEST_REQUEST_MS)
        self.disruptions = 0
        self._client = _Client(
            self._note_disruption,
            **client_options(settings),
            client_id=client_id,
            request_timeout_ms=self.request_timeout_ms,
        )
        mend_client(self._client)
        self._coordinators: dict[tuple[CoordinationType, str], int] = {}

    async def start(self, topics: Collection[str]) -> None:
        """Connect, and ask for ``topics``; ``SourceError`` if no broker can be reached."""
        await self._client.bootstrap()
        await within_reach(contact(self._client), self._client, "connecting")
        for topic in topics:
            await self.partitions(topic)

    async def close(self) -> None:
        await self._client.close()

    async def partitions(self, topic: str) -> list[int]:
        """Return a topic's partition numbers, sorted; asks the cluster for a new topic only."""
        # aiokafka's producer does the same; there is no public way to wait for a topic's metadata.
        return sorted(await self._client._wait_on_metadata(topic))  # noqa: SLF001

    async def find_partitions(self, topic: str) -> list[int]:
        """Return a topic's partition numbers, sorted; none if there is no such topic."""
        cluster = self._client.cluster
        if cluster.partitions_for_topic(topic) is None:
            self._client.add_topic(topic)
            if not await self._client.force_metadata_update():
                raise errors.KafkaConnectionError("no broker of the cluster answers")
        return sorted(cluster.partitions_for_topic(topic) or ())

    async def find_topics(self, topics: Collection[str]) -> None:
        """Ask the cluster for topics: afterwards ``cluster`` has those that exist."""
        for topic in topics:
            self._client.add_topic(topic)
        # The first update may have been under way already, without these topics.
        for _ in range(2):
            if not await self._client.force_metadata_update():
                raise errors.KafkaConnectionError("no broker of the cluster answers")
            if all(map(self.cluster.partitions_for_topic, topics)):
                return

    def forget_topics(self, topics: Collection[str]) -> None:
        """Ask for these topics' metadata no more."""
        self._client._topics = self._client._topics.difference(topics)  # noqa: SLF001 - not public

    def leaders(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[int | None, list[TopicPartition]]:
        led: dict[int | None, list[TopicPartition]] = {}
        for partition in partitions:
            leader = self._client.cluster.leader_for_partition(partition)
            led.setdefault(None if leader == _NO_LEADER else leader, []).append(partition)
        return led

    async def list_leaders(
        self, is_wanted: Callable[[str], bool]
    ) -> dict[TopicPartition, int | None]:
        """Return the leaders of all partitions of wanted topics; ``None`` where there is none."""
        response = await self.ask_any(MetadataRequest(None, allow_auto_topic_creation=False))
        return {
            TopicPartition(topic, number): None if leader == _NO_LEADER else leader
            for _code, topic, _is_internal, partitions in response.topics
            if is_wanted(topic)
            for _error, number, leader, *_rest in partitions
        }

    def is_leaderless(self, partition: TopicPartition) -> bool:
        return self._client.cluster.leader_for_partition(partition) in {None, _NO_LEADER}

    @property
    def cluster(self) -> ClusterMetadata:
        return self._client.cluster

    async def learn_leaders(self) -> None:
        await self._client.force_metadata_update()

    async def ask_broker(self, broker: int, request: Request[Any]) -> Any:
        """Send a request to a broker; on ``KafkaError`` the broker may have carried it out."""
        return await self._send(broker, request, ConnectionGroup.DEFAULT)

    async def ask_any(self, request: Request[Any]) -> Any:
        """Send a request to some broker; ``KafkaError`` if it does not answer."""
        return await self._send(self._client.get_random_node(), request, ConnectionGroup.DEFAULT)

    async def ask_transactions(self, transactional_id: str, request: Request[Any]) -> Any:
        return await self._ask(CoordinationType.TRANSACTION, transactional_id, request)

    async def ask_group(self, group: str, request: Request[Any]) -> Any:
        return await self._ask(CoordinationType.GROUP, group, request)

    def forget_coordinators(self, *keys: str) -> None:
        """Look up the coordinators of these transactional ids and groups again: they have moved."""
        self._note_disruption()
        for kind in (CoordinationType.TRANSACTION, CoordinationType.GROUP):
            for key in keys:
                self._coordinators.pop((kind, key), None)

    def _note_disruption(self) -> None:
        self.disruptions += 1

    async def _ask(self, kind: CoordinationType, key: str, request: Request[Any]) -> Any:
        broker = self._coordinators.get((kind, key))
        try:
            if broker is None:
                broker = await self._client.coordinator_lookup(kind, key)
                self._coordinators[kind, key] = broker
            return await self._send(broker, request, ConnectionGroup.COORDINATION)
        except errors.KafkaError:
            self._coordinators.pop((kind, key), None)
            raise

    async def _send(self, broker: int, request: Request[Any], group: ConnectionGroup) -> Any:
        return await self._client.send(broker, request, group=group)


class _Client(AIOKafkaClient):  # type: ignore[misc]  # aiokafka is untyped
    """Reports broken connections, also between requests, and creates no topic that it asks for."""

    def __init__(self, on_broken: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._on_broken = on_broken

    def _on_connection_closed(self, conn: Any, reason: CloseReason | None) -> None:
        super()._on_connection_closed(conn, reason)
        if reason in {CloseReason.CONNECTION_BROKEN, CloseReason.CONNECTION_TIMEOUT}:
            self._on_broken()

    async def _metadata_update(self, cluster: ClusterMetadata, topics: Collection[str]) -> bool:
        # Without a wanted topic, aiokafka asks for all topics of the cluster.
        request = MetadataRequest(list(topics), allow_auto_topic_creation=False)
        brokers = [broker.nodeId for broker in self.cluster.brokers()]
        for broker in random.sample(brokers, len(brokers)):
            try:
                metadata = await self.send(broker, request)
            except (errors.KafkaError, OSError, KeyError) as error:
                log.warning(
                    "broker %s does not answer for metadata: %r",
                    broker,
                    error,
                    extra={
                        "event": "broker_silent",
                        "broker": str(broker),
                        "error_class": type(error).__name__,
                    },
                )
                continue
            cluster.update_metadata(metadata)
            return bool(metadata.brokers)
        cluster.failed_update(None)
        return False


def cluster_waits(cluster: ClusterMetadata, partitions: Iterable[TopicPartition]) -> list[str]:
    lines: list[str] = []
    for partition in sorted(partitions):
        if not cluster.partitions_for_topic(partition.topic):
            lines.append(waits.topic_gone(partition.topic))
        elif cluster.leader_for_partition(partition) == _NO_LEADER:
            lines.append(waits.no_leader(*partition))
    return list(dict.fromkeys(lines))


def numbers_by_topic(partitions: Collection[TopicPartition]) -> list[tuple[str, list[int]]]:
    topics: dict[str, list[int]] = {}
    for topic, number in partitions:
        topics.setdefault(topic, []).append(number)
    return list(topics.items())
