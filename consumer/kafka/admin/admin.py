"""Topics and their settings, for ``headrace`` commands and at start."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.metadata import MetadataRequest

from consumer.kafka.admin.topic_settings import (
    DEFAULT_LIMITS,
    READ_SETTINGS,
    TopicLimits,
    explain_denied,
    limits_of,
)
from consumer.kafka.client.connection import client_options, explaining_failures
from consumer.kafka.client.reach import within_reach
from consumer.ports import SourceError
from headrace_client.kafka.mending import mend_client
from headrace_client.kafka.reach import contact
from headrace_client.kafka.rights import ask_group_rights, ask_topic_rights
from schemas.settings.file import KafkaSettings

log = logging.getLogger(__name__)

NOTHING_KNOWN: Mapping[str, TopicLimits] = MappingProxyType({})
NO_SETTINGS: Mapping[str, Mapping[str, str]] = MappingProxyType({})
LOOK_AGAIN_AFTER_S = 0.05
VISIBLE_AFTER_LOOKS = 200
_ROUTES_HINT = (
    "check the route's topics.partitions and topics.replication_factor, or create them beforehand"
)


class TopicInfo(NamedTuple):
    partitions: int
    replication_factor: int


class TopicReport(NamedTuple):
    """The result of ``ensure_topics`` for one topic; an existing topic is left as ``found``.

    ``problem`` is why a topic that the service can do without was not created, for a person.
    """

    topic: str
    is_created: bool
    wanted: TopicInfo
    found: TopicInfo
    problem: str | None = None


class TopicAdmin:
    """An administrative connection; use it as an async context manager.

    Every method raises ``SourceError``, with what to check, if the cluster cannot be reached or
    refuses. ``denied_topics`` are topics whose settings this user may not read.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self.denied_topics: set[str] = set()
        self._client: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Self:
        client = AIOKafkaAdminClient(**client_options(self._settings))
        known = client._client  # noqa: SLF001 - there is no public way to the brokers
        mend_client(known)
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

    @property
    def client(self) -> AIOKafkaAdminClient:
        if self._client is None:
            raise SourceError("the administrative connection is not open")
        return self._client

    async def describe_topics(self, topics: Iterable[str]) -> dict[str, TopicInfo | None]:
        """Return each topic; ``None`` if it is missing or hidden from us. Creates none."""
        wanted = list(topics)
        request = MetadataRequest(wanted, allow_auto_topic_creation=False)
        with explaining_failures(self._settings, "describing topics"):
            response = await self.client._send_request(request)  # noqa: SLF001 - nothing public asks so
        found: dict[str, TopicInfo | None] = dict.fromkeys(wanted)
        for _error_code, topic, _is_internal, partitions in response.topics:
            if partitions:
                copies = max(len(replicas) for _code, _number, _leader, replicas, *_ in partitions)
                found[topic] = TopicInfo(len(partitions), copies)
        return found

    async def ensure_topics(
        self,
        wanted: dict[str, TopicInfo],
        settings: Mapping[str, Mapping[str, str]] = NO_SETTINGS,
    ) -> list[TopicReport]:
        """Create the missing topics, and report on all once the brokers show them.

        ``settings`` are those of topics that need others than the brokers' own.
        """
        existing = await self.describe_topics(wanted)
        missing = [topic for topic, info in existing.items() if info is None]
        if missing:
            await self.create({topic: wanted[topic] for topic in missing}, _ROUTES_HINT, settings)
        return [
            TopicReport(topic, info is None, wanted[topic], info or wanted[topic])
            for topic, info in existing.items()
        ]

    async def explain_uncreatable(self, topics: Mapping[str, TopicInfo]) -> dict[str, str]:
        """Return why brokers would not create missing topics, by topic; creates none."""
        new = [NewTopic(topic, *info) for topic, info in topics.items()]
        if not new:
            return {}
        with explaining_failures(self._settings, "asking whether topics may be created"):
            response = await self.client.create_topics(new, validate_only=True)
        return dict(_creation_problems(response))

    async def topic_rights(
        self, topics: Sequence[str]
    ) -> tuple[dict[str, frozenset[str]], frozenset[str]]:
        """Return what this user may do with each topic, and the topics that are hidden from it."""
        return await ask_topic_rights(self.client._client, topics)  # noqa: SLF001 - as above

    async def group_rights(self, groups: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return what this user may do as each group; brokers older than 2.3 do not say it."""
        found = {group: await ask_group_rights(self.client, group) for group in groups}
        return {group: rights for group, rights in found.items() if rights is not None}

    async def message_limits_bytes(self, topics: Sequence[str]) -> dict[str, int]:
        limits = await self.topic_limits(topics)
        return {topic: limits[topic].max_message_bytes for topic in topics}

    async def topic_limits(
        self, topics: Sequence[str], known: Mapping[str, TopicLimits] = NOTHING_KNOWN
    ) -> dict[str, TopicLimits]:
        """Return each topic's limits; without an answer, those of ``known``, or the defaults."""
        settings = await self.topic_settings(topics)
        if unknown := [topic for topic in topics if topic not in {*settings, *known}]:
            log.info(
                "%s: taking Kafka's default limits, %s",
                ", ".join(unknown),
                DEFAULT_LIMITS,
                extra={"event": "topic_settings_unknown", "topics": sorted(unknown)},
            )
        for topic in self.denied_topics.intersection(unknown):
            log.warning(
                "%s",
                explain_denied(topic),
                extra={"event": "topic_settings_denied", "topic": topic},
            )
        return {
            topic: limits_of(settings[topic])
            if topic in settings
            else known.get(topic, DEFAULT_LIMITS)
            for topic in topics
        }

    async def topic_settings(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        if not topics:
            return found
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(READ_SETTINGS))
            for topic in topics
        ]
        try:
            responses = await self.client.describe_configs(resources)
        except errors.KafkaError as error:
            log.info(
                "no topic settings (%s)",
                error,
                extra={"event": "topic_settings_unknown", "error_class": type(error).__name__},
            )
            return found
        for response in responses:
            for error_code, _message, _kind, topic, entries in response.resources:
                if error_code:
                    kind = errors.for_code(error_code)
                    log.info(
                        "no settings of topic %s (%s)",
                        topic,
                        kind.__name__,
                        extra={
                            "event": "topic_settings_unknown",
                            "topic": topic,
                            "error_class": kind.__name__,
                        },
                    )
                    if kind is errors.TopicAuthorizationFailedError:
                        self.denied_topics.add(topic)
                    continue
                found[topic] = {name: value for name, value, *_ in entries if value is not None}
        return found

    async def create(
        self,
        topics: dict[str, TopicInfo],
        hint: str,
        settings: Mapping[str, Mapping[str, str]] = NO_SETTINGS,
    ) -> None:
        """Create missing topics, and wait until the brokers show them; errors end in ``hint``."""
        new = [
            NewTopic(
                topic,
                info.partitions,
                info.replication_factor,
                topic_configs=dict(settings.get(topic, {})),
            )
            for topic, info in topics.items()
        ]
        with explaining_failures(self._settings, "creating topics"):
            response = await self.client.create_topics(new)
        problems = [f"{topic}: {why}" for topic, why in _creation_problems(response)]
        if problems:
            raise SourceError(f"cannot create topics: {'; '.join(problems)}; {hint}")
        for _look in range(VISIBLE_AFTER_LOOKS):
            if None not in (await self.describe_topics(topics)).values():
                return
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)
        log.warning(
            "created %s, but the cluster does not show it yet",
            ", ".join(topics),
            extra={"event": "topics_not_shown", "topics": sorted(topics)},
        )


def _creation_problems(response: Any) -> Iterator[tuple[str, str]]:
    for topic, error_code, *message in response.topic_errors:
        error = errors.for_code(error_code)
        # Somebody else may have created it a moment ago.
        if error not in (errors.NoError, errors.TopicAlreadyExistsError):
            said = message[0] if message and message[0] else error.description
            yield topic, f"{error.__name__}: {said}"
