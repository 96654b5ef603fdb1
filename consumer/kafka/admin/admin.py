"""Topics and lag, from outside the consumer group: for ``headrace`` commands and at start."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Self

from aiokafka import AIOKafkaConsumer, errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.admin.topic_settings import (
    DEFAULT_LIMITS,
    READ_SETTINGS,
    TopicLimits,
    explain_denied,
    limits_of,
)
from consumer.kafka.client import internals
from consumer.kafka.client.connection import client_options, explaining_failures
from consumer.kafka.client.mending import mend
from consumer.kafka.client.reach import contact, within_reach
from consumer.ports import CommitPoint, Lag, SourceError, TopicPartition
from schemas.settings.file import KafkaSettings

log = logging.getLogger(__name__)

NOTHING_KNOWN: Mapping[str, TopicLimits] = MappingProxyType({})
LOOK_AGAIN_AFTER_S = 0.05
VISIBLE_AFTER_LOOKS = 200


class TopicInfo(NamedTuple):
    """A topic as the cluster has it."""

    partitions: int
    replication_factor: int


class TopicReport(NamedTuple):
    """What ``ensure_topics`` did about one topic.

    Attributes:
        topic: Its name.
        is_created: It was missing.
        wanted: As the settings have it.
        found: As it is now. Where it existed it was left alone, whatever the settings say.
    """

    topic: str
    is_created: bool
    wanted: TopicInfo
    found: TopicInfo


class TopicAdmin:
    """An administrative connection; use it as an async context manager.

    Every method raises ``SourceError``, with what to check, where the cluster cannot be reached or
    refuses.

    Attributes:
        denied_topics: Topics whose settings this user has been refused.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self.denied_topics: set[str] = set()
        self._client: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Self:
        client = AIOKafkaAdminClient(**client_options(self._settings))
        known = client._client  # noqa: SLF001 - nothing public tells the brokers
        mend(known)
        try:
            with explaining_failures(self._settings, "asking the cluster"):
                await client.start()
                await within_reach(contact(known), known, "asking the cluster")
        except BaseException:
            await client.close()
            raise
        self._client = client
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def describe_topics(self, topics: Iterable[str]) -> dict[str, TopicInfo | None]:
        """Return what each topic is like; ``None`` where it does not exist or is not to be seen."""
        wanted = list(topics)
        # Asking for a topic by name would create it on a cluster with auto.create.topics.enable.
        with explaining_failures(self._settings, "describing topics"):
            described = {each["topic"]: each for each in await self._started().describe_topics()}
        found: dict[str, TopicInfo | None] = {}
        for topic in wanted:
            partitions = described.get(topic, {}).get("partitions")
            found[topic] = (
                TopicInfo(len(partitions), max(len(each["replicas"]) for each in partitions))
                if partitions
                else None
            )
        return found

    async def ensure_topics(self, wanted: dict[str, TopicInfo]) -> list[TopicReport]:
        """Create the topics that are missing, and report on all.

        Returns once the cluster shows the new ones: creating is acknowledged by the controller, a
        moment before the brokers that are asked about topics know of it.

        Raises:
            SourceError: A topic could not be created; says which and why.
        """
        existing = await self.describe_topics(wanted)
        missing = [topic for topic, info in existing.items() if info is None]
        if missing:
            await self._create({topic: wanted[topic] for topic in missing})
            await self._seen_everywhere(missing)
        return [
            TopicReport(topic, info is None, wanted[topic], info or wanted[topic])
            for topic, info in existing.items()
        ]

    async def message_limits_bytes(self, topics: Sequence[str]) -> dict[str, int]:
        """Return each topic's ``max.message.bytes``; Kafka's default where it cannot be asked."""
        limits = await self.topic_limits(topics)
        return {topic: limits[topic].max_message_bytes for topic in topics}

    async def topic_limits(
        self, topics: Sequence[str], known: Mapping[str, TopicLimits] = NOTHING_KNOWN
    ) -> dict[str, TopicLimits]:
        """Return what each topic takes.

        Args:
            topics: Which.
            known: What stands for topics that cannot be asked; Kafka's defaults for the others.
        """
        settings = await self.topic_settings(topics)
        if unknown := [topic for topic in topics if topic not in {*settings, *known}]:
            log.info("%s: taking Kafka's default limits, %s", ", ".join(unknown), DEFAULT_LIMITS)
        for topic in self.denied_topics.intersection(unknown):
            log.warning("%s", explain_denied(topic))
        return {
            topic: limits_of(settings[topic])
            if topic in settings
            else known.get(topic, DEFAULT_LIMITS)
            for topic in topics
        }

    async def topic_settings(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the ``READ_SETTINGS`` of each topic that the broker tells them of."""
        found: dict[str, dict[str, str]] = {}
        if not topics:
            return found
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(READ_SETTINGS))
            for topic in topics
        ]
        try:
            responses = await self._started().describe_configs(resources)
        except errors.KafkaError as error:
            log.info("no topic settings (%s)", error)
            return found
        for response in responses:
            for error_code, _message, _kind, topic, entries in response.resources:
                if error_code:
                    kind = errors.for_code(error_code)
                    log.info("no settings of topic %s (%s)", topic, kind.__name__)
                    if kind is errors.TopicAuthorizationFailedError:
                        self.denied_topics.add(topic)
                    continue
                found[topic] = {name: value for name, value, *_ in entries if value is not None}
        return found

    async def group_lag(self, group: str, topic: str) -> dict[TopicPartition, Lag]:
        """Return how far a consumer group is in a topic; empty where the topic does not exist.

        The log ends where a consumer's reading does: at the first record of a transaction that is
        open. What lies behind it is work for nobody yet, and counted apart.

        Raises:
            SourceError: Something was not told: what is missing is never taken for 'no commit'.
        """
        with explaining_failures(self._settings, f"asking for the lag of {group} in {topic}"):
            info = (await self.describe_topics([topic]))[topic]
            if info is None:
                return {}
            partitions = [KafkaPartition(topic, number) for number in range(info.partitions)]
            committed = await self._started().list_consumer_group_offsets(
                group, partitions=partitions
            )
            # aiokafka passes over the error of the whole answer, and then there are no partitions.
            if untold := [each.partition for each in partitions if each not in committed]:
                raise errors.GroupCoordinatorNotAvailableError(
                    f"the coordinator of group {group} does not tell the offsets of partitions "
                    f"{untold}: it is loading them or moving, or this user may not describe the "
                    "group"
                )
            # The admin client cannot ask for offsets; a consumer in no group can.
            consumer = AIOKafkaConsumer(
                **client_options(self._settings), group_id=None, isolation_level="read_committed"
            )
            try:
                await consumer.start()
                starts = await consumer.beginning_offsets(partitions)
                ends = await consumer.end_offsets(partitions)
                high_watermarks = await internals.high_watermarks(consumer, partitions)
            finally:
                await consumer.stop()
        lag: dict[TopicPartition, Lag] = {}
        for partition in partitions:
            point = committed[partition]
            lag[TopicPartition(*partition)] = Lag(
                starts[partition],
                ends[partition],
                CommitPoint(point.offset, point.metadata or "") if point.offset >= 0 else None,
                high_watermarks[partition],
            )
        return lag

    async def _create(self, topics: dict[str, TopicInfo]) -> None:
        with explaining_failures(self._settings, "creating topics"):
            response = await self._started().create_topics(
                [
                    NewTopic(topic, info.partitions, info.replication_factor)
                    for topic, info in topics.items()
                ]
            )
        problems = []
        for topic, error_code, *message in response.topic_errors:
            error = errors.for_code(error_code)
            # Somebody else may have created it a moment ago.
            if error not in (errors.NoError, errors.TopicAlreadyExistsError):
                said = message[0] if message and message[0] else error.description
                problems.append(f"{topic}: {error.__name__}: {said}")
        if problems:
            raise SourceError(
                f"cannot create topics: {'; '.join(problems)}; check the route's topics.partitions "
                "and topics.replication_factor, or create them beforehand"
            )

    async def _seen_everywhere(self, topics: Sequence[str]) -> None:
        for _look in range(VISIBLE_AFTER_LOOKS):
            if None not in (await self.describe_topics(topics)).values():
                return
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)
        log.warning("created %s, but the cluster does not show it yet", ", ".join(topics))

    def _started(self) -> AIOKafkaAdminClient:
        if self._client is None:
            raise SourceError("the administrative connection is not open")
        return self._client
