"""The state of a consumer group and its offsets, as somebody outside the group changes them."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeVar

from aiokafka import errors
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.commit import OffsetCommitRequest

from consumer.engine.offsets.completion_map import log_id_from
from consumer.kafka.client.cluster_client import ClusterClient
from consumer.kafka.client.connection import explaining_failures
from consumer.kafka.client.offsets import (
    READ_UNCOMMITTED,
    CommittedOffsetsRequest,
    ListOffsetsRequest,
    read_points,
)
from consumer.kafka.transactions.errors import UNSTABLE_OFFSET_COMMIT
from consumer.ports import OffsetAndMetadata, SourceError, TopicPartition
from headrace_client.kafka.identity import ask_topic_id
from schemas.settings.file import KafkaSettings

T = TypeVar("T")

_CLIENT_ID = "headrace-offsets"
_REQUEST_TIMEOUT_MS = 10_000
_TIMEOUT_S = 20.0
_RETRY_S = 0.25
_COMMITTED_AT_ONCE = 500
"""Partitions in one request: brokers write a request's offsets as one batch of their log."""
_OUTSIDE_ANY_GENERATION = -1
EMPTY_STATES = frozenset({"Empty", "Dead"})
"""A group that has never been joined, or has expired, is dead."""


class GroupNotEmptyError(Exception):
    """Members are in the group, or came meanwhile: brokers take offsets from them alone."""


class GroupState(NamedTuple):
    """A group as its coordinator describes it; members as ``CLIENT_ID at HOST``."""

    state: str
    members: Sequence[str]

    @property
    def is_empty(self) -> bool:
        return self.state in EMPTY_STATES


class GroupOffsets:
    """One client for a group and its topic; an async context manager.

    Every method raises ``SourceError``, with what to check, if the cluster does not answer within
    some seconds or refuses.
    """

    def __init__(self, settings: KafkaSettings, group: str, topic: str) -> None:
        self._settings = settings
        self._group = group
        self._topic = topic
        self._client = ClusterClient(settings, _CLIENT_ID, _REQUEST_TIMEOUT_MS)

    async def __aenter__(self) -> Self:
        try:
            with explaining_failures(self._settings, f"asking for group {self._group}"):
                await self._client.start(())
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self._client.close()

    async def state(self) -> GroupState:
        async def ask() -> GroupState:
            response = await self._client.ask_group(
                self._group, DescribeGroupsRequest([self._group])
            )
            ((code, _group, state, _type, _protocol, members, *_rest),) = response.groups
            if code:
                raise errors.for_code(code)(self._group)
            return GroupState(
                state, [f"{client_id} at {host.lstrip('/')}" for _, client_id, host, *_ in members]
            )

        return await self._until_answered(ask, f"describing group {self._group}")

    async def undecided(self, partitions: Collection[int]) -> bool:
        """Return whether an open transaction is to change an offset of these partitions."""

        async def ask() -> bool:
            request = CommittedOffsetsRequest(
                self._group, [(self._topic, sorted(partitions))], require_stable=True
            )
            codes, _points = read_points(await self._client.ask_group(self._group, request))
            for code in codes - {0, UNSTABLE_OFFSET_COMMIT}:
                raise errors.for_code(code)(self._group)
            return UNSTABLE_OFFSET_COMMIT in codes

        return await self._until_answered(ask, f"asking for the offsets of group {self._group}")

    async def first_since(self, partitions: Collection[int], epoch_ms: int) -> dict[int, int]:
        """Return each partition's first offset of that time or later; -1 where there is none."""

        async def ask() -> dict[int, int]:
            await self._client.find_topics([self._topic])
            wanted = [TopicPartition(self._topic, number) for number in sorted(partitions)]
            found: dict[int, int] = {}
            for leader, led in self._client.leaders(wanted).items():
                if leader is None:
                    raise errors.LeaderNotAvailableError(f"{self._topic}: {len(led)} partitions")
                numbers = [each.partition for each in led]
                request = ListOffsetsRequest(self._topic, numbers, epoch_ms, READ_UNCOMMITTED)
                answer = await self._client.ask_broker(leader, request)
                for code in answer.codes - {0}:
                    raise errors.for_code(code)(self._topic)
                found |= answer.offsets
            return found

        return await self._until_answered(ask, f"looking for a time in {self._topic}")

    async def log_id(self) -> bytes:
        """Return the id of the topic's log, as completion maps carry it; empty if unknown."""
        return log_id_from(await ask_topic_id(self._client._client, self._topic))  # noqa: SLF001 - one more request

    async def commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit for a group without members; ``GroupNotEmptyError`` if it has some."""
        waiting = sorted(points.items())
        for start in range(0, len(waiting), _COMMITTED_AT_ONCE):
            part = waiting[start : start + _COMMITTED_AT_ONCE]
            offsets = [(each.partition, *point) for each, point in part]
            await self._until_answered(
                lambda offsets=offsets: self._commit(offsets),  # type: ignore[misc]
                f"committing offsets of group {self._group}",
            )

    async def _commit(self, offsets: list[tuple[int, int, str]]) -> None:
        request = OffsetCommitRequest(
            self._group,
            _OUTSIDE_ANY_GENERATION,
            "",
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            [(self._topic, offsets)],
        )
        response: Any = await self._client.ask_group(self._group, request)
        codes = {code for _topic, results in response.topics for _number, code in results}
        for code in codes - {0}:
            kind = errors.for_code(code)
            if kind in (
                errors.UnknownMemberIdError,
                errors.IllegalGenerationError,
                errors.RebalanceInProgressError,
            ):
                raise GroupNotEmptyError(f"{self._group}: {kind.__name__}")
            raise kind(self._group)

    async def _until_answered(self, ask: Callable[[], Awaitable[T]], doing: str) -> T:
        failure: errors.KafkaError = errors.KafkaTimeoutError(
            f"Kafka did not answer within {_TIMEOUT_S:g} s"
        )
        with explaining_failures(self._settings, doing):
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    while True:
                        try:
                            return await ask()
                        except errors.KafkaError as error:
                            if not error.retriable:
                                raise
                            failure = error
                        self._client.forget_coordinators(self._group)
                        await self._client.learn_leaders()
                        await asyncio.sleep(_RETRY_S)
            except TimeoutError:
                raise failure from None
        raise SourceError(f"{doing}: no answer")
