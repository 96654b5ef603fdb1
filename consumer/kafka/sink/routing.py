"""The partition of each message, and the messages that their topics do not take."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from consumer.kafka.admin.topic_settings import DEFAULT_LIMITS, TopicLimits
from consumer.kafka.sink.message_size import (
    LARGEST_REQUEST_BYTES,
    batch_size_bytes,
    explain_too_large,
)
from consumer.kafka.sink.partitioning import RunPartitioner, partitions_of_keys
from consumer.kafka.sink.refusals import explain_keyless
from consumer.ports import Message, Rejection, TopicPartition

MAX_BATCH_BYTES = 512 * 1024
RUN_RECORDS = 64
BACKED_UP_RECORDS = 4 * RUN_RECORDS
"""From this many unacknowledged messages on, those without a key go to other partitions."""


class Routed(NamedTuple):
    messages: dict[TopicPartition, list[Message]]
    rejections: list[Rejection]


def _never(_partition: TopicPartition) -> bool:
    return False


class MessageRouter:
    """Routes as Kafka's Java producer does by key; messages without a key are spread in runs."""

    def __init__(self) -> None:
        self.limits: Mapping[str, TopicLimits] = {}
        self.reply_limits: Mapping[str, TopicLimits] = {}
        self._runs: defaultdict[str, RunPartitioner] = defaultdict(
            lambda: RunPartitioner(RUN_RECORDS)
        )

    def forget(self, topic: str) -> None:
        """Forget which partition's turn it is; reply topics come and go."""
        self._runs.pop(topic, None)

    @property
    def max_batch_bytes(self) -> int:
        limits_bytes = (each.max_message_bytes for each in self.limits.values())
        return min([MAX_BATCH_BYTES, *limits_bytes])

    def batch_bytes(self, topic: str) -> int:
        return min(MAX_BATCH_BYTES, self._limits_of(topic).max_message_bytes)

    def _limits_of(self, topic: str) -> TopicLimits:
        return self.limits.get(topic) or self.reply_limits.get(topic, DEFAULT_LIMITS)

    def route(
        self,
        messages: Sequence[Message],
        partitions: Mapping[str, Sequence[int]],
        is_backed_up: Callable[[TopicPartition], bool] = _never,
    ) -> Routed:
        """Return where each message goes; without a key, past partitions that are backed up."""
        routed = Routed({}, [])
        by_topic: defaultdict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_topic[message.topic].append(message)
        for topic, of_topic in by_topic.items():
            taken = self._taken(topic, of_topic, routed.rejections)
            self._place(topic, taken, partitions[topic], is_backed_up, routed.messages)
        return routed

    def _taken(
        self, topic: str, messages: Sequence[Message], rejections: list[Rejection]
    ) -> list[Message]:
        limits = self._limits_of(topic)
        limit_bytes = min(limits.max_message_bytes, LARGEST_REQUEST_BYTES)
        taken: list[Message] = []
        for message in messages:
            size_bytes = batch_size_bytes(message)
            if size_bytes > limit_bytes:
                reason = explain_too_large(message, size_bytes, limit_bytes)
                rejections.append(Rejection(message, reason, is_too_large=True))
            elif limits.needs_keys and message.key is None:
                rejections.append(Rejection(message, explain_keyless(topic)))
            else:
                taken.append(message)
        return taken

    def _place(
        self,
        topic: str,
        messages: Sequence[Message],
        numbers: Sequence[int],
        is_backed_up: Callable[[TopicPartition], bool],
        placed: dict[TopicPartition, list[Message]],
    ) -> None:
        keys = [message.key for message in messages if message.key is not None]
        of_keys = iter(partitions_of_keys(keys, len(numbers)))
        by_position: list[list[Message]] = [[] for _ in numbers]
        run, preferred = self._runs[topic], None
        for message in messages:
            if message.key is not None:
                position = next(of_keys)
            else:
                preferred = preferred or _preferred(topic, numbers, is_backed_up)
                position = run.next_partition(preferred)
            by_position[position].append(message)
        run.end_run()
        for number, found in zip(numbers, by_position, strict=True):
            if found:
                placed[TopicPartition(topic, number)] = found


def _preferred(
    topic: str, numbers: Sequence[int], is_backed_up: Callable[[TopicPartition], bool]
) -> Sequence[int]:
    positions = range(len(numbers))
    free = [each for each in positions if not is_backed_up(TopicPartition(topic, numbers[each]))]
    return free or positions
