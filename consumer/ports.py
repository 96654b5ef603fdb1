"""What the consumer loop needs of the world, as protocols that adapters implement.

The same contract suite (``tests/contract``) runs over every implementation.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from schemas.wire.headers import Header


class TopicPartition(NamedTuple):
    """A partition of a topic. Equal, as a tuple, to aiokafka's own."""

    topic: str
    partition: int


class Record(NamedTuple):
    """One record as it was read.

    Attributes:
        partition: Where it stands.
        offset: Its offset there.
        key: The producer's key, untouched.
        value: The value's bytes, untouched; ``None`` is a tombstone.
        headers: The producer's headers, in order.
        timestamp_ms: Epoch milliseconds, by producer or broker as the topic is configured;
            ``None`` or negative where the producer left it out.
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
        """Return how many bytes its producer put into it."""
        size_bytes = len(self.value or b"") + len(self.key or b"")
        for name, value in self.headers:
            size_bytes += len(name) + len(value or b"")
        return size_bytes


class OffsetAndMetadata(NamedTuple):
    """A partition's progress as it is committed.

    Attributes:
        offset: The lowest offset that has no acknowledged outcome.
        metadata: The completion map above it (``engine.offsets.completion_map``); may be empty.
    """

    offset: int
    metadata: str


class Message(NamedTuple):
    """A record to publish.

    Attributes:
        topic: Where it goes.
        key: As it will stand there.
        value: As it will stand there.
        headers: As they will stand there.
        item: Whose outcome it is; sinks report it back with the message.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    item: Any = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that the broker or client will never take as it is.

    Attributes:
        message: The message.
        reason: Why, for a person; names the topic and the setting.
        is_too_large: A smaller message would be taken.
    """

    message: Message
    reason: str
    is_too_large: bool = False


class Lag(NamedTuple):
    """A partition's log by the broker; in offsets, so that counts are upper bounds.

    Attributes:
        log_start: The oldest offset that is kept.
        log_end: Where reading ends: the next offset, or the first of an open transaction.
        committed: What the group has committed, or ``None``.
        high_watermark: The next offset, open transactions or none; ``None`` where it was not asked.
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
    """The record source cannot go on; replace it (and with it the consumer replica)."""


class FencedError(Exception):
    """Another member has taken a partition over; nothing more may be published for it here."""


class CommitRefusedError(Exception):
    """The group has rebalanced: the partitions may be another member's by now."""


class ReadingNotes(Protocol):
    """Notes which record a consumer is reading when it ends: it may be the cause."""

    def begin(self, record: Record) -> int:
        """Note that a record is being read; return how many consumers ended while they read it."""

    def end(self, record: Record) -> None:
        """Take the note back."""


class RebalanceListener(Protocol):
    """What a record source calls around a rebalance, and awaits."""

    async def revoking(self) -> None:
        """All partitions are about to be revoked; most of them will be assigned again.

        Called while commits count for the old generation, once for each ``assigned`` that has
        returned. Must return within the rebalance timeout.
        """

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions, and no others, are assigned now.

        The listener may call ``committed`` and ``seek`` of the source, and must ignore records that
        the source returns before this method does. It is cancelled, and called again, where it
        waits while the group rebalances once more.
        """


class RecordSource(Protocol):
    """A member of a consumer group that reads one topic."""

    async def start(self, listener: RebalanceListener) -> None:
        """Join the group; ``listener.assigned`` follows.

        Raises:
            SourceError: The broker cannot be reached or refuses us; says what to check.
        """

    async def poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout_s: float
    ) -> list[Record]:
        """Return records of ``partitions`` in offset order per partition, or none after a while.

        Args:
            partitions: The partitions to read; others keep their position. With none the call
                keeps the membership alive, and returns within ``timeout_s``.
            max_records: The most to return, 1 or more.
            timeout_s: How long to wait for the first record.

        Raises:
            SourceError: The source is beyond recovery.
        """

    def position(self, partition: TopicPartition) -> int | None:
        """Return the next offset that ``poll`` would read, if known: all below were returned."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read ``partition`` from ``offset`` on."""

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return what the group has committed; ``None`` for partitions without a commit."""

    def log_ids(self) -> Mapping[TopicPartition, bytes]:
        """Return what identifies the assigned partitions' logs, where that is known.

        A topic that was deleted and created again has other logs. ``committed`` does not return
        points that name another log.
        """

    def take_expired(self) -> Mapping[TopicPartition, int]:
        """Return the starts of logs whose next record retention has deleted.

        Each is returned once, before ``poll`` returns later records.
        """

    async def commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit under the current generation.

        Raises:
            CommitRefusedError: The group has moved on; the points may be stale.
        """

    def rejoin(self) -> None:
        """Join the group again; the listener is called as ever.

        Does nothing during a rebalance, or before the start.
        """

    async def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where each partition's log ends: at the first offset that cannot be read yet.

        Leaderless partitions, and others that do not answer soon, are left out.
        """

    def unheard_s(self) -> float | None:
        """Return for how long the group has not confirmed this member.

        Beyond the session timeout its partitions may be another member's. ``None`` where it has
        none, joins again, or the time is not known.
        """

    def waits(self) -> list[str]:
        """Return what reading waits for now; see ``consumer.engine.waiting.waits``."""

    async def stop(self) -> None:
        """Leave the group at once, without committing and without calling the listener."""


class PublishListener(Protocol):
    """Gets the outcome of each message from a ``ResultSink``.

    Each message ends in one of ``acknowledged``, ``rejected`` and ``dropped``, unless the sink
    fails.
    """

    def is_wanted(self, message: Message) -> bool:
        """Return whether a message may still be published; called before each try."""
        ...

    def acknowledged(self, messages: Sequence[Message]) -> None:
        """The broker has acknowledged messages."""
        ...

    def rejected(self, rejection: Rejection) -> None:
        """A message can never be published as it is, e.g. over the size limit."""
        ...

    def dropped(self, message: Message) -> None:
        """A message was not wanted any more; it may have been published all the same."""
        ...

    def failed(self, error: SourceError) -> None:
        """The sink cannot go on, and reports nothing more of what it was to publish."""
        ...


class ResultSink(Protocol):
    """Where results and dead letters go."""

    async def start(self, listener: PublishListener) -> None:
        """Connect.

        Args:
            listener: Gets the outcome of each message.

        Raises:
            SourceError: The broker cannot be reached or refuses us; says what to check.
        """
        ...

    async def send(self, messages: Sequence[Message]) -> None:
        """Take messages over, to be published.

        One at a time. Messages of a key keep the order in which they were sent. A partition that
        takes nothing holds up its own messages only, and those without a key go round it.

        Passing failures (a broker away, a leader moving) are retried inside until they pass, so
        that a message may be published twice but is never reported acknowledged when it is not.

        Raises:
            SourceError: The broker refuses us, or the sink is stopped.
        """
        ...

    def waits(self) -> list[str]:
        """Return what publishing waits for now; see ``consumer.engine.waiting.waits``."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


class TransactionalSink(Protocol):
    """Where outcomes go together with their offsets: one transaction for each call.

    Every input partition has a transactional id of its own, so that a new owner of a partition
    fences exactly the former one.
    """

    async def start(self) -> None:
        """Connect.

        Raises:
            SourceError: The broker cannot be reached or refuses us; says what to check.
        """

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        """Fence the earlier owners of ``partitions``, and let go of all other partitions.

        When this returns, none of their transactions is open or undecided, so that what the group
        has committed stays as ``RecordSource.committed`` reads it. Partitions that this sink has
        already are taken over again: another member may have had them meanwhile.

        Raises:
            SourceError: The broker refuses us.
        """

    async def publish(
        self, partition: TopicPartition, messages: Sequence[Message], point: OffsetAndMetadata
    ) -> list[Rejection]:
        """Publish all messages and commit ``point`` for ``partition``, or do neither.

        At most one call at a time for each partition. Passing failures (a broker away, a
        coordinator moving, a transaction that timed out) are retried until it is known that the
        transaction was committed; it takes effect once.

        Returns:
            The messages that can never be published as they are. If there are any, nothing was
            published or committed.

        Raises:
            FencedError: Another member has taken the partition over, or it was let go; nothing
                was published that stays.
            SourceError: The broker refuses us, or the sink is stopped.
        """

    def waits(self) -> list[str]:
        """Return what publishing waits for now; see ``consumer.engine.waiting.waits``."""

    async def stop(self) -> None:
        """Disconnect; transactions under way are aborted."""


class ControlSource(Protocol):
    """The records of a route's control topic: all of them, to every consumer replica."""

    async def start(self) -> None:
        """Connect; reading begins with the oldest record.

        Raises:
            SourceError: The topic cannot be read; says what to check.
        """

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the next records, or none after a while.

        Raises:
            SourceError: The source is beyond recovery.
        """

    @property
    def is_caught_up(self) -> bool:
        """Whether all that stood on the topic at the start has been returned."""

    async def stop(self) -> None:
        """Disconnect."""
