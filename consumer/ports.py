"""The consumer loop's ports, as protocols that adapters implement.

The same contract suite (``tests/contract``) runs over every implementation.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from schemas.wire.headers import Header


class TopicPartition(NamedTuple):
    """A partition of a topic. As a tuple it equals aiokafka's own."""

    topic: str
    partition: int


class Record(NamedTuple):
    """One record as it was read.

    Attributes:
        key: The producer's key, unchanged.
        value: The value's bytes, unchanged; ``None`` is a tombstone.
        timestamp_ms: Epoch milliseconds, by producer or broker as the topic is configured;
            ``None`` or negative if the producer left it out.
        problem: Why it could not be read; then it has neither key nor value nor headers.
    """

    partition: TopicPartition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    timestamp_ms: int | None
    problem: str | None = None

    def size_bytes(self) -> int:
        size_bytes = len(self.value or b"") + len(self.key or b"")
        for name, value in self.headers:
            size_bytes += len(name) + len(value or b"")
        return size_bytes


class OffsetAndMetadata(NamedTuple):
    """A partition's progress as it is committed.

    ``metadata`` is the completion map above it (``engine.offsets.completion_map``) or empty.
    """

    offset: int
    metadata: str


class Message(NamedTuple):
    """A record to publish; ``item`` is whose outcome it is, which sinks report back."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    item: Any = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that is not taken as it is; ``reason`` names topic and setting.

    Attributes:
        is_missing: There is no such topic. Only of messages for reply topics: without the route's
            own topics the sink fails.
        is_passing: Its reply topic takes nothing now, and may later. It may have been published
            nevertheless, unless the sink is transactional.
    """

    message: Message
    reason: str
    is_too_large: bool = False
    is_missing: bool = False
    is_passing: bool = False


class Lag(NamedTuple):
    """A partition's log by the broker; in offsets, so that counts are upper bounds.

    Attributes:
        log_end: Where reading ends: the next offset, or the first of an open transaction.
        high_watermark: The next offset, with or without open transactions; ``None`` if not asked.
    """

    log_start: int
    log_end: int
    committed: OffsetAndMetadata | None
    high_watermark: int | None = None

    @property
    def blocked_records(self) -> int:
        """Offsets that cannot be read before a transaction ends."""
        return 0 if self.high_watermark is None else max(0, self.high_watermark - self.log_end)


class SourceError(Exception):
    """The record source failed for good; replace it, and with it the consumer replica."""


class FencedError(Exception):
    """Another member has taken the partition over; nothing more may be published for it here."""


class CommitRefusedError(Exception):
    """The group has rebalanced: the partitions may already be another member's."""


class ReadingNotes(Protocol):
    """Notes which record a consumer is reading when it ends: it may be the cause."""

    def begin(self, record: Record) -> int:
        """Note that a record is being read; return how many consumers ended while they read it."""

    def end(self, record: Record) -> None: ...


class RebalanceListener(Protocol):
    """The callbacks of a record source around a rebalance; the source awaits them."""

    async def revoking(self) -> None:
        """All partitions are about to be revoked; most of them will be assigned again.

        Called while commits count for the old generation, once for each ``assigned`` that has
        returned. Must return within the rebalance timeout.
        """

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions, and no others, are assigned now.

        The listener may call ``committed`` and ``seek`` of the source, and must ignore records that
        the source returns before this method does. If the group rebalances again while it waits, it
        is cancelled and called again.
        """


class RecordSource(Protocol):
    async def start(self, listener: RebalanceListener) -> None:
        """Join the group; ``listener.assigned`` follows. ``SourceError`` says what to check."""

    async def poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout_s: float
    ) -> list[Record]:
        """Return records of ``partitions`` in offset order per partition.

        Waits up to ``timeout_s`` for the first record. Other partitions keep their position.
        Without partitions the call keeps the membership alive. ``SourceError`` is final.
        """

    def position(self, partition: TopicPartition) -> int | None:
        """Return the next offset that ``poll`` would read, if known: all below were returned."""

    def seek(self, partition: TopicPartition, offset: int) -> None: ...

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return what the group has committed; ``None`` for partitions without a commit."""

    def topic_partitions(self) -> int:
        """Return how many partitions the topic has, as far as is known."""

    def log_ids(self) -> Mapping[TopicPartition, bytes]:
        """Return the ids of the assigned partitions' logs, where known.

        A topic that was deleted and created again has other logs. ``committed`` does not return
        points that name another log.
        """

    def take_expired(self) -> Mapping[TopicPartition, int]:
        """Return, once each, the starts of logs whose next record retention has deleted."""

    async def commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit; ``CommitRefusedError`` means that the group has rebalanced."""

    def rejoin(self) -> None:
        """Join the group again; does nothing during a rebalance, or before the start."""

    async def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where each partition's log ends: at the first offset that cannot be read yet.

        Leaderless partitions, and others that do not answer soon, are left out.
        """

    async def latest_log_ends(
        self, partitions: Collection[TopicPartition], within_s: float
    ) -> dict[TopicPartition, int]:
        """Return ends of logs as ``log_ends`` does, for numbers that may be somewhat old.

        What fetches have said within ``within_s`` is not asked again, and nothing is logged or
        raised: what is not known is left out.
        """

    def unheard_s(self) -> float | None:
        """Return for how long the group has not confirmed this member.

        Beyond the session timeout its partitions may be another member's. ``None`` if it has none,
        joins again, or the time is unknown.
        """

    def waits(self) -> list[str]:
        """Return what reading waits for now; see ``consumer.engine.waiting.waits``."""

    async def stop(self) -> None:
        """Leave the group at once, without committing and without calling the listener."""


class PublishListener(Protocol):
    """Each message is acknowledged, rejected or dropped, unless the sink fails."""

    def is_wanted(self, message: Message) -> bool:
        """Return whether a message may still be published; called before each try."""
        ...

    def acknowledged(self, messages: Sequence[Message]) -> None: ...

    def rejected(self, rejection: Rejection) -> None:
        """The message can never be published as it is, e.g. as it exceeds the size limit."""
        ...

    def dropped(self, message: Message) -> None:
        """The message was no longer wanted; it may have been published nevertheless."""
        ...

    def failed(self, error: SourceError) -> None:
        """The sink failed for good, and reports nothing about its remaining messages."""
        ...


class ResultSink(Protocol):
    async def start(self, listener: PublishListener) -> None:
        """Connect; ``SourceError`` says what to check if the broker does not answer."""
        ...

    async def send(self, messages: Sequence[Message]) -> None:
        """Queue messages for publication.

        Topics that the sink was not made for are reply topics. They hold up neither this call nor
        other topics: what they do not take within some seconds is rejected, perhaps as passing.
        One call at a time. Messages of a key keep the order in which they were sent. A partition
        that takes nothing delays only its own messages, and those without a key go to others.

        Temporary failures (a broker away, a leader moving) are retried until they pass. So a
        message may be published twice, but is never reported acknowledged when it is not.

        Raises:
            SourceError: The broker refuses us, or the sink is stopped.
        """
        ...

    def flush(self) -> None:
        """Send what was queued so far at once; it gathers no longer."""
        ...

    async def find_missing(self, topics: Collection[str]) -> set[str]:
        """Return which reply topics do not exist, by the cluster's word of a few seconds ago.

        Raises ``SourceError`` if the cluster does not say. Creates no topic.
        """
        ...

    def waits(self) -> list[str]:
        """Return what publishing waits for now; see ``consumer.engine.waiting.waits``."""
        ...

    async def stop(self) -> None: ...


class TransactionalSink(Protocol):
    """Publishes outcomes with their offsets: one transaction for each call.

    Every input partition has its own transactional id, so that a new owner of a partition fences
    exactly the former one.
    """

    async def start(self) -> None:
        """Connect; ``SourceError`` says what to check if the broker does not answer."""

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        """Fence the earlier owners of ``partitions``, and release all other partitions.

        When this returns, none of their transactions is open or undecided, so that what the group
        has committed stays as ``RecordSource.committed`` reads it. Partitions that this sink
        already has are taken over again: another member may have had them meanwhile.
        """

    async def publish(
        self, partition: TopicPartition, messages: Sequence[Message], point: OffsetAndMetadata
    ) -> list[Rejection]:
        """Publish all messages and commit ``point`` for ``partition``, or do neither.

        At most one call at a time for each partition. Temporary failures (a broker away, a
        coordinator moving, a transaction that timed out) are retried until the transaction is known
        to be committed; it takes effect once. A reply topic (one that the sink was not made for)
        is waited for some seconds only: then its messages are rejected, perhaps as passing.

        Returns:
            The messages that can never be published as they are, or not now. If there are any,
            nothing was published or committed.

        Raises:
            FencedError: Another member has the partition, or it was released; nothing that stays
                was published.
            SourceError: The broker refuses us, or the sink is stopped.
        """

    async def find_missing(self, topics: Collection[str]) -> set[str]:
        """As ``ResultSink.find_missing``."""

    def allow_replies(self, patterns: Collection[str]) -> None:
        """Note patterns of reply topics in which other owners too may have left something open."""

    def waits(self) -> list[str]: ...

    async def stop(self) -> None:
        """Disconnect; transactions under way are aborted."""


class ControlSource(Protocol):
    """All records of a route's control topic, for every consumer replica."""

    async def start(self) -> None:
        """Connect, to read from the oldest record; ``SourceError`` says what to check."""

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the next records, or none after ``timeout_s``; ``SourceError`` is final."""

    @property
    def is_caught_up(self) -> bool:
        """Whether all records from before the start have been returned."""

    async def stop(self) -> None: ...
