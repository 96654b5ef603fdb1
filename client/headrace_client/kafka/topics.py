"""What the cluster knows of topics and of the service's group; makes and deletes topics."""
# ruff: noqa: SLF001 - nothing public asks for topics without creating them

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from headrace_client.errors import ClosedError, KafkaError, MissingTopicError
from headrace_client.kafka.connecting import (
    client_options,
    explaining_failures,
    start_within_reach,
)
from headrace_client.kafka.mending import mend_client
from headrace_client.kafka.reach import contact
from headrace_client.settings import Connection

_LOOK_AGAIN_AFTER_S = 0.05
_VISIBLE_AFTER_LOOKS = 200
_NOTHING_COMMITTED = -1
_COORDINATOR_LOOKS = 20
_COORDINATOR_AGAIN_S = 0.1


class TopicInfo(NamedTuple):
    partitions: int
    replication_factor: int


@dataclass(frozen=True, slots=True)
class GroupStanding:
    """What a consumer group does: its members now, and its committed offsets by partition.

    A partition of which nothing was ever committed is missing.
    """

    members: int
    committed: Mapping[int, int]


class TopicAdmin:
    """An administrative connection; an async context manager.

    Every method raises ``KafkaError``, with what to check, if the cluster cannot be reached or
    refuses.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Self:
        client = AIOKafkaAdminClient(**client_options(self._connection))
        mend_client(client._client)
        try:
            with explaining_failures(self._connection, "asking the cluster"):
                await client.start()
                await start_within_reach(
                    contact(client._client), client._client, "asking the cluster"
                )
        except BaseException:
            await client.close()
            raise
        self._open = client
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        client, self._open = self._open, None
        if client is not None:
            await client.close()

    @property
    def _client(self) -> AIOKafkaAdminClient:
        if self._open is None:
            raise ClosedError("the administrative connection is not open: use `async with`")
        return self._open

    async def describe(self, topics: Iterable[str]) -> dict[str, TopicInfo | None]:
        """Return each topic; ``None`` if it is missing or hidden from us. Creates none."""
        wanted = list(dict.fromkeys(topics))
        request = MetadataRequest(wanted, allow_auto_topic_creation=False)
        with explaining_failures(self._connection, "describing topics"):
            response = await self._client._send_request(request)
        found: dict[str, TopicInfo | None] = dict.fromkeys(wanted)
        for _error_code, topic, _is_internal, partitions in response.topics:
            if partitions:
                copies = max(len(replicas) for _code, _number, _leader, replicas, *_ in partitions)
                found[topic] = TopicInfo(len(partitions), copies)
        return found

    async def require(self, topics: Iterable[str]) -> None:
        """Raise ``MissingTopicError`` unless every topic exists."""
        missing = [topic for topic, info in (await self.describe(topics)).items() if info is None]
        if missing:
            raise MissingTopicError(
                f"there is no topic {' and no topic '.join(missing)}, or this user may not "
                "describe it: check the name, or create it (`headrace topics create` makes those "
                "of a settings file)"
            )

    async def create(
        self, topic: str, info: TopicInfo, settings: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic and wait until the brokers show it; ``False`` if it was there already."""
        new = NewTopic(topic, info.partitions, info.replication_factor, topic_configs=settings)
        with explaining_failures(self._connection, f"creating topic {topic}"):
            response = await self._client.create_topics([new])
        is_created = True
        for name, error_code, *message in response.topic_errors:
            error = errors.for_code(error_code)
            if error is errors.TopicAlreadyExistsError:
                is_created = False
            elif error is not errors.NoError:
                said = message[0] if message and message[0] else error.description
                raise KafkaError(f"cannot create topic {name}: {error.__name__}: {said}")
        for _look in range(_VISIBLE_AFTER_LOOKS):
            if None not in (await self.describe([topic])).values():
                break
            await asyncio.sleep(_LOOK_AGAIN_AFTER_S)
        return is_created

    async def delete(self, topics: Collection[str]) -> None:
        """Delete topics; one that is missing already counts as deleted."""
        with explaining_failures(self._connection, f"deleting {', '.join(topics)}"):
            response = await self._client.delete_topics(list(topics))
        for name, error_code in response.topic_error_codes:
            error = errors.for_code(error_code)
            if error not in (errors.NoError, errors.UnknownTopicOrPartitionError):
                raise KafkaError(f"cannot delete topic {name}: {error.__name__}")

    async def group(self, group: str, topic: str) -> GroupStanding:
        """Return a consumer group's members and its committed offsets in a topic."""
        info = (await self.describe([topic]))[topic]
        partitions = [TopicPartition(topic, each) for each in range(info.partitions if info else 0)]
        with explaining_failures(self._connection, f"asking for group {group}"):
            for looks_left in reversed(range(_COORDINATOR_LOOKS)):
                try:
                    offsets = await self._client.list_consumer_group_offsets(
                        group, partitions=partitions
                    )
                    (response, *_more) = await self._client.describe_consumer_groups([group])
                    break
                except errors.KafkaError as error:
                    # A cluster makes the topic of its groups when it is first asked for one.
                    if not (error.retriable and looks_left):
                        raise
                    await asyncio.sleep(_COORDINATOR_AGAIN_S)
        members = sum(len(described[5]) for described in response.groups)
        return GroupStanding(
            members,
            {
                place.partition: point.offset
                for place, point in offsets.items()
                if point.offset != _NOTHING_COMMITTED
            },
        )
