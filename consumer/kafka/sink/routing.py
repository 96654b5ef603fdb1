"""Which partition of its topic each message goes to, and which their topics do not take."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from consumer.kafka.admin.topic_settings import DEFAULT_LIMITS, TopicLimits
from consumer.kafka.sink.message_size import (
    LARGEST_REQUEST_BYTES,
    batch_size_bytes,
    explain_too_large,
)
from consumer.kafka.sink.partitioning import RunPartitioner, partition_of_key
from consumer.kafka.sink.refusals import explain_keyless
from consumer.ports import Message, Rejection, TopicPartition

MAX_BATCH_BYTES = 512 * 1024
RUN_RECORDS = 64


class Routed(NamedTuple):
    """Messages by partition.

    Attributes:
        indexes: Positions in the routed sequence, in its order, by the partition they go to.
        rejections: Messages that their topic does not take; they are in no partition.
    """

    indexes: dict[TopicPartition, list[int]]
    rejections: list[Rejection]


def _never(_partition: TopicPartition) -> bool:
    return False


class MessageRouter:
    """Routes as Kafka's Java producer does by key; messages without a key are spread in runs.

    Attributes:
        limits: What topics take; Kafka's default for topics not named.
    """

    def __init__(self) -> None:
        self.limits: Mapping[str, TopicLimits] = {}
        self._runs: dict[str, RunPartitioner] = {}

    @property
    def max_batch_bytes(self) -> int:
        """The most that a batch of several messages may take, uncompressed."""
        limits_bytes = (each.max_message_bytes for each in self.limits.values())
        return min([MAX_BATCH_BYTES, *limits_bytes])

    def route(
        self,
        messages: Sequence[Message],
        partitions: Mapping[str, Sequence[int]],
        is_backed_up: Callable[[TopicPartition], bool] = _never,
    ) -> Routed:
        """Return where each message goes.

        Args:
            messages: What is to be published.
            partitions: The partition numbers of every topic among them, sorted.
            is_backed_up: Whether a message without a key had better go elsewhere.
        """
        routed = Routed({}, [])
        preferred: dict[str, Sequence[int]] = {}
        for index, message in enumerate(messages):
            topic = message.topic
            size_bytes = batch_size_bytes(message)
            limits = self.limits.get(topic, DEFAULT_LIMITS)
            limit_bytes = min(limits.max_message_bytes, LARGEST_REQUEST_BYTES)
            if size_bytes > limit_bytes:
                reason = explain_too_large(message, size_bytes, limit_bytes)
                routed.rejections.append(Rejection(index, reason, is_too_large=True))
                continue
            if limits.needs_keys and message.key is None:
                routed.rejections.append(Rejection(index, explain_keyless(topic)))
                continue
            if message.key is None:
                if topic not in preferred:
                    preferred[topic] = [
                        number
                        for number in partitions[topic]
                        if not is_backed_up(TopicPartition(topic, number))
                    ] or partitions[topic]
                number = self._run(topic).next_partition(preferred[topic])
            else:
                number = partitions[topic][partition_of_key(message.key, len(partitions[topic]))]
            routed.indexes.setdefault(TopicPartition(topic, number), []).append(index)
        for topic in partitions:
            self._run(topic).end_run()
        return routed

    def _run(self, topic: str) -> RunPartitioner:
        run = self._runs.get(topic)
        if run is None:
            run = self._runs[topic] = RunPartitioner(RUN_RECORDS)
        return run
