"""A broker in memory: topics, groups and failures on demand, for tests and for trying out.

It keeps Kafka's promises and none of its durability. Everything waits by asyncio alone, so that a
test may run it on a loop whose time is virtual.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence

from consumer.kafka.sink.partitioning import RunPartitioner, partition_of_key
from consumer.ports import Message, Record, Rejection, SourceError, TopicPartition
from tests.memory.group import MemoryGroup
from tests.memory.log import PartitionLog

DEFAULT_METADATA_LIMIT_CHARACTERS = 4096
DEFAULT_MESSAGE_LIMIT_BYTES = 1024 * 1024
_RUN_RECORDS = 64


class MemoryBroker:
    """Topics and consumer groups.

    Args:
        metadata_limit_characters: As the brokers' ``offset.metadata.max.bytes``.
        now_ms: Epoch milliseconds for the records' timestamps.
    """

    def __init__(
        self,
        *,
        metadata_limit_characters: int = DEFAULT_METADATA_LIMIT_CHARACTERS,
        now_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._metadata_limit_characters = metadata_limit_characters
        self._now_ms = now_ms
        self._topics: dict[str, list[PartitionLog]] = {}
        self._limits_bytes: dict[str, int] = {}
        self._standing: set[str] = set()
        self._refusing: dict[str, Callable[[Message], str | None]] = {}
        self._runs: dict[str, RunPartitioner] = {}
        self._groups: dict[tuple[str, str], MemoryGroup] = {}
        self._reachable = asyncio.Event()
        self._reachable.set()
        self._arrivals: set[asyncio.Future[None]] = set()

    # What clients do

    def create_topic(
        self, topic: str, partitions: int, max_message_bytes: int = DEFAULT_MESSAGE_LIMIT_BYTES
    ) -> None:
        """Create a topic.

        Args:
            topic: Its name.
            partitions: How many partitions, 1 or more.
            max_message_bytes: Messages with more bytes in key, value and headers are rejected.

        Raises:
            ValueError: It exists.
        """
        if topic in self._topics:
            raise ValueError(f"topic {topic} exists")
        self._topics[topic] = [
            PartitionLog(TopicPartition(topic, number)) for number in range(partitions)
        ]
        self._limits_bytes[topic] = max_message_bytes
        self._runs[topic] = RunPartitioner(_RUN_RECORDS)

    def has_topic(self, topic: str) -> bool:
        """Tell whether a topic exists."""
        return topic in self._topics

    def partitions(self, topic: str) -> list[TopicPartition]:
        """Return a topic's partitions."""
        return [TopicPartition(topic, number) for number in range(len(self._topics[topic]))]

    def log(self, partition: TopicPartition) -> PartitionLog:
        """Return a partition's log, to read, or to make gaps in or delete from."""
        return self._topics[partition.topic][partition.partition]

    def group(self, name: str, topic: str) -> MemoryGroup:
        """Return a consumer group's state for a topic."""
        group = self._groups.get((name, topic))
        if group is None:
            group = MemoryGroup(self.partitions(topic), self._metadata_limit_characters)
            self._groups[name, topic] = group
        return group

    def append(self, messages: Sequence[Message]) -> None:
        """Add messages to their topics at once: by key as Kafka's producers do, or in runs."""
        for message, partition_log in self._place(messages):
            partition_log.append(message, self._now_ms())
        self._announce()

    def append_committed(self, messages: Sequence[Message]) -> None:
        """Add a transaction's messages at once, and a marker to each partition that it touched."""
        touched: dict[int, PartitionLog] = {}
        for message, partition_log in self._place(messages):
            partition_log.append(message, self._now_ms())
            touched[id(partition_log)] = partition_log
        for partition_log in touched.values():
            partition_log.skip(1)
        self._announce()

    def append_aborted(self, messages: Sequence[Message]) -> None:
        """Use up the offsets that an aborted transaction's messages and markers take."""
        touched: dict[int, PartitionLog] = {}
        for _message, partition_log in self._place(messages):
            partition_log.skip(1)
            touched[id(partition_log)] = partition_log
        for partition_log in touched.values():
            partition_log.skip(1)

    def check_own(self, messages: Sequence[Message], own_topics: Collection[str] | None) -> None:
        """Raise ``SourceError`` if one of a sink's own topics, by default all, does not exist."""
        for message in messages:
            is_own = own_topics is None or message.topic in own_topics
            if is_own and not self.has_topic(message.topic):
                raise SourceError(f"topic {message.topic} does not exist: create it")

    def rejections(
        self, messages: Sequence[Message], own_topics: Collection[str] | None = None
    ) -> list[Rejection]:
        """Return the messages that their topics do not take.

        All topics are the sink's own if it does not say which are; else the others are reply
        topics, which may be missing, or stand still.
        """
        rejections = []
        for message in messages:
            if own_topics is not None and message.topic not in own_topics:
                if message.topic not in self._topics:
                    reason = f"topic {message.topic} does not exist: create it"
                    rejections.append(Rejection(message, reason, is_missing=True))
                    continue
                if message.topic in self._standing:
                    reason = f"{message.topic}/0 has no leader"
                    rejections.append(Rejection(message, reason, is_passing=True))
                    continue
            limit_bytes = self.over_limit_bytes(message)
            if limit_bytes is not None:
                reason = f"over the {limit_bytes} bytes that {message.topic} takes"
                rejections.append(Rejection(message, reason, is_too_large=True))
            elif (reason_why := self._refuses(message)) is not None:
                rejections.append(Rejection(message, reason_why))
        return rejections

    def over_limit_bytes(self, message: Message) -> int | None:
        """Return the topic's limit where the message is over it."""
        size_bytes = len(message.key or b"") + len(message.value or b"")
        size_bytes += sum(len(name) + len(value or b"") for name, value in message.headers)
        limit_bytes = self._limits_bytes[message.topic]
        return limit_bytes if size_bytes > limit_bytes else None

    def _refuses(self, message: Message) -> str | None:
        refuses = self._refusing.get(message.topic)
        return None if refuses is None else refuses(message)

    async def reachable(self) -> None:
        """Return when the broker can be reached."""
        await self._reachable.wait()

    async def arrival(self, timeout_s: float) -> None:
        """Wait until something is appended or changes, or for ``timeout_s``."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrivals.add(future)
        try:
            await asyncio.wait([future], timeout=timeout_s)
        finally:
            self._arrivals.discard(future)

    def wake(self) -> None:
        """Make every waiting poll look again."""
        self._announce()

    # What tests do to it

    @property
    def is_away(self) -> bool:
        """Whether nothing can reach the broker now."""
        return not self._reachable.is_set()

    def go_away(self) -> None:
        """Publishing and committing wait, and nothing is delivered, until ``come_back``."""
        self._reachable.clear()

    def come_back(self) -> None:
        """End what ``go_away`` began."""
        self._reachable.set()
        self._announce()

    def set_message_limit(self, topic: str, max_message_bytes: int) -> None:
        """Change what a topic takes, in bytes of key, value and headers."""
        self._limits_bytes[topic] = max_message_bytes

    def refuse(self, topic: str, why: Callable[[Message], str | None]) -> None:
        """Have a topic refuse the messages for which ``why`` has a reason."""
        self._refusing[topic] = why

    def need_keys(self, topic: str) -> None:
        """Have a topic refuse messages without a key, as a compacted one does."""
        reason = f"topic {topic} takes no message without a key, as its cleanup.policy is compact"
        self.refuse(topic, lambda message: reason if message.key is None else None)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with its records."""
        del self._topics[topic]
        self._announce()

    def stand_still(self, topic: str) -> None:
        """Have a reply topic take nothing, until ``go_on``."""
        self._standing.add(topic)

    def go_on(self, topic: str) -> None:
        """End what ``stand_still`` began."""
        self._standing.discard(topic)

    def recreate_topic(self, topic: str) -> None:
        """Delete a topic and create it again: its records are gone, and what groups committed."""
        self._topics[topic] = [PartitionLog(each) for each in self.partitions(topic)]
        for (_, of_topic), group in self._groups.items():
            if of_topic == topic:
                group.committed.clear()
        self._announce()

    def records(self, topic: str) -> list[Record]:
        """Return all of a topic's records, partition by partition."""
        return [
            record
            for log in self._topics[topic]
            for record in log.read(log.start_offset, log.end_offset)
        ]

    def _place(self, messages: Sequence[Message]) -> list[tuple[Message, PartitionLog]]:
        placed: list[tuple[Message, PartitionLog]] = []
        for message in messages:
            logs = self._topics[message.topic]
            if message.key is None:
                number = self._runs[message.topic].next_partition(range(len(logs)))
            else:
                number = partition_of_key(message.key, len(logs))
            placed.append((message, logs[number]))
        for topic in {message.topic for message in messages}:
            self._runs[topic].end_run()
        return placed

    def _announce(self) -> None:
        for future in self._arrivals:
            if not future.done():
                future.set_result(None)
