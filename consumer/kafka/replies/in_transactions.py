"""Which messages for reply topics a transaction goes without, before it begins and after it failed.

A transaction waits for the slowest of its partitions, so that it must not wait for these.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from aiokafka import errors

from consumer.kafka.client.cluster_client import ClusterClient
from consumer.kafka.replies.directory import ReplyDirectory, Verdict, reject_absent
from consumer.kafka.transactions.errors import NONE, NextStep, next_step
from consumer.ports import Message, Rejection, TopicPartition

_LOOK_UP_S = 3.0


class Replies:
    def __init__(self, client: ClusterClient, directory: ReplyDirectory) -> None:
        self._client = client
        self._directory = directory

    async def absent(
        self, topics: AbstractSet[str], messages: Sequence[Message]
    ) -> list[Rejection]:
        """Reject the messages whose topics are not there, or cannot be looked up now."""
        if not topics:
            return []
        try:
            async with asyncio.timeout(_LOOK_UP_S):
                verdicts = await self._directory.find(topics)
        except (TimeoutError, errors.KafkaError) as error:
            return [
                _passing(each, f"topic {each.topic} cannot be looked up: {error!r}")
                for each in messages
                if each.topic in topics
            ]
        lacking = {each for each in topics if verdicts[each] is not Verdict.FOUND}
        gone = {each for each in topics - lacking if not self.partitions(each)}
        for topic in gone:  # the client has forgotten it since, or it was deleted
            self._directory.forget(topic)
        rejections = [
            reject_absent(each, verdicts[each.topic]) for each in messages if each.topic in lacking
        ]
        return rejections + [
            _passing(each, f"topic {each.topic} is gone, or was just forgotten")
            for each in messages
            if each.topic in gone
        ]

    def leaderless(
        self, topics: Collection[str], routed: Mapping[TopicPartition, Sequence[Message]]
    ) -> list[Rejection]:
        return [
            rejection
            for partition, messages in routed.items()
            if partition.topic in topics and self._client.is_leaderless(partition)
            for rejection in _all_passing(partition, messages, "has no leader")
        ]

    async def standing(
        self,
        codes: Mapping[TopicPartition, int],
        routed: Mapping[TopicPartition, Sequence[Message]],
    ) -> list[Rejection]:
        """Reject the messages for partitions that kept a transaction from its end."""
        refused = {
            each.topic
            for each, code in codes.items()
            if code != NONE and next_step(code) is NextStep.REFUSED
        }
        for topic in refused:
            self._directory.note_denied(topic)
        topics = {each.topic for each in codes}
        for topic in topics - refused:
            self._directory.forget(topic)
        found = await self.absent(topics, [each for held in codes for each in routed[held]])
        absent = {each.message.topic for each in found}
        for partition, code in codes.items():
            if partition.topic not in absent:
                name = errors.for_code(code).__name__ if code else "its leader does not answer"
                found += _all_passing(partition, routed[partition], f"takes nothing ({name})")
        return found

    def partitions(self, topic: str) -> Collection[int]:
        return self._client.cluster.partitions_for_topic(topic) or ()


def _all_passing(
    partition: TopicPartition, messages: Iterable[Message], why: str
) -> list[Rejection]:
    return [_passing(each, f"{partition.topic}/{partition.partition} {why}") for each in messages]


def _passing(message: Message, reason: str) -> Rejection:
    return Rejection(message, reason, is_passing=True)
