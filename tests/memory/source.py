"""Reading from the broker in memory, as a member of a group."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, Literal

from consumer.engine.waiting.waits import no_broker
from consumer.kafka.group.assignment import NO_CLAIM, Claim
from consumer.ports import (
    CommitRefusedError,
    OffsetAndMetadata,
    RebalanceListener,
    Record,
    SourceError,
    TopicPartition,
)
from tests.memory.broker import MemoryBroker
from tests.memory.group import Member, Membership

DEFAULT_REBALANCE_TIMEOUT_S = 30.0


class MemorySource:
    """A ``RecordSource`` on a ``MemoryBroker``.

    Args:
        broker: Where the topic is.
        topic: The topic to read.
        group: The consumer group.
        start_from: Where a group begins that has committed nothing on the topic.
        rebalance_timeout_s: How long the others may take to join before they are expelled.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        topic: str,
        group: str,
        *,
        start_from: Literal["earliest", "latest"] = "earliest",
        rebalance_timeout_s: float = DEFAULT_REBALANCE_TIMEOUT_S,
    ) -> None:
        self._broker = broker
        self._topic = topic
        self._group_name = group
        self._start_from = start_from
        self._rebalance_timeout_s = rebalance_timeout_s
        self._listener: RebalanceListener | None = None
        self._member: Member | None = None
        self._membership: Membership | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._expired: dict[TopicPartition, int] = {}
        self._coordination: asyncio.Task[None] | None = None
        self._failure: SourceError | None = None
        self._is_open = False
        self._is_deaf = False

    async def start(self, listener: RebalanceListener) -> None:
        """Join the group; see ``RecordSource``."""
        if not self._broker.has_topic(self._topic):
            raise SourceError(f"topic {self._topic} does not exist: create it")
        await self._broker.reachable()
        self._listener = listener
        self._coordination = asyncio.create_task(self._coordinate(listener))

    async def poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout_s: float
    ) -> list[Record]:
        """Return records of ``partitions``; see ``RecordSource``."""
        self._check()
        records = self._take(partitions, max_records)
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + timeout_s
        while not records and loop.time() < give_up_at_s:
            await self._broker.arrival(give_up_at_s - loop.time())
            self._check()
            records = self._take(partitions, max_records)
        return records

    def position(self, partition: TopicPartition) -> int | None:
        """Return the next offset to read; see ``RecordSource``."""
        return self._positions.get(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read ``partition`` from ``offset`` on; ignored where it is not assigned any more."""
        if partition in self._positions:
            self._positions[partition] = offset

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return the group's committed points; see ``RecordSource``.

        A point beyond the log's end counts as the log's start: the log is another one.
        """
        await self._broker.reachable()
        committed = self._broker.group(self._group_name, self._topic).committed
        points: dict[TopicPartition, OffsetAndMetadata | None] = {}
        for partition in partitions:
            point = committed.get(partition)
            log = self._broker.log(partition)
            if point is not None and point.offset > log.end_offset:
                point = OffsetAndMetadata(log.start_offset, "")
            points[partition] = point
        return points

    def log_ids(self) -> dict[TopicPartition, bytes]:
        """Return none: commits go with a topic that is deleted; see ``RecordSource``."""
        return {}

    def take_expired(self) -> dict[TopicPartition, int]:
        """Return where retention has deleted what came next; see ``RecordSource``."""
        expired, self._expired = self._expired, {}
        return expired

    async def commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit under the current generation; see ``RecordSource``.

        Raises:
            CommitRefusedError: The group has moved on.
            SourceError: The metadata is over the broker's limit.
        """
        member, membership = self._member, self._membership
        await self._broker.reachable()
        if member is None or membership is None or membership is not self._membership:
            raise CommitRefusedError("the group is rebalancing")
        if points.keys() - membership.partitions:
            raise CommitRefusedError("not all of these partitions are assigned")
        group = self._broker.group(self._group_name, self._topic)
        try:
            group.commit(member, membership.generation, points)
        except ValueError as error:
            raise SourceError(str(error)) from error

    def rejoin(self) -> None:
        """Have the group rebalance; see ``RecordSource``."""
        if self._member is not None and self._membership is not None:
            self._broker.group(self._group_name, self._topic).rebalance()

    async def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where logs end; see ``RecordSource``. None while the broker is away."""
        if self._broker.is_away:
            return {}
        return {partition: self._broker.log(partition).end_offset for partition in partitions}

    async def latest_log_ends(
        self,
        partitions: Collection[TopicPartition],
        within_s: float,
    ) -> dict[TopicPartition, int]:
        """Return where logs end now; see ``RecordSource``."""
        return await self.log_ends(partitions)

    def unheard_s(self) -> float | None:
        """Return ``None``: the group needs no heartbeats; see ``RecordSource``."""
        return None

    def waits(self) -> list[str]:
        """Return whether the broker is away; see ``RecordSource``."""
        return [no_broker("reading")] if self._broker.is_away else []

    async def stop(self) -> None:
        """Leave the group at once; see ``RecordSource``."""
        await self.crash()
        if self._member is not None:
            self._broker.group(self._group_name, self._topic).leave(self._member)

    async def crash(self) -> None:
        """Vanish without leaving, as a killed process does: the group waits for ``expire``."""
        self._failure = self._failure or SourceError("the source is not started, or stopped")
        self._membership = None
        if self._coordination is not None:
            self._coordination.cancel()
            await asyncio.wait([self._coordination])
        self._broker.wake()

    def fail(self, error: SourceError) -> None:
        """Have every poll raise ``error`` from here on, as where the broker refuses us."""
        self._failure = error
        self._broker.wake()

    def go_deaf(self) -> None:
        """Bring nothing from here on and say nothing of it, as where a fetching task has died."""
        self._is_deaf = True

    def expire(self) -> None:
        """End the member's session, as the broker does when no heartbeat comes.

        A member that has not crashed learns of it and joins again, under a new id.
        """
        if self._member is not None:
            self._broker.group(self._group_name, self._topic).expel(self._member.member_id)

    async def _coordinate(self, listener: RebalanceListener) -> None:
        group = self._broker.group(self._group_name, self._topic)
        self._member = group.enter()
        claim = NO_CLAIM
        while True:
            await self._member.rejoin.wait()
            self._is_open = False
            self._broker.wake()
            if self._membership is not None:
                await self._call(listener.revoking())
            # A commit on its way ends here: it may not count for a later generation.
            self._membership = None
            if self._member.is_expelled:
                self._member = group.enter()
            membership = await group.join(self._member, claim, self._rebalance_timeout_s)
            if membership is None:
                continue
            claim = Claim(*membership)
            if self._start_from == "latest" and not group.committed:
                group.commit(self._member, membership.generation, self._ends())
            self._positions = {
                partition: self._start_position(group.committed.get(partition), partition)
                for partition in membership.partitions
            }
            await self._call(listener.assigned(sorted(membership.partitions)))
            # Before, the listener's progress could be of a time when the partitions were its own.
            self._membership = membership
            self._is_open = True
            self._broker.wake()

    def _start_position(self, point: OffsetAndMetadata | None, partition: TopicPartition) -> int:
        return self._broker.log(partition).start_offset if point is None else point.offset

    def _ends(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return where a group begins that is to read from the end: of all partitions at once."""
        partitions = self._broker.partitions(self._topic)
        return {
            each: OffsetAndMetadata(self._broker.log(each).end_offset, "") for each in partitions
        }

    async def _call(self, callback: Coroutine[Any, Any, None]) -> None:
        try:
            await callback
        except Exception as error:  # noqa: BLE001 - the listener's failure is the poll's to report
            self._failure = SourceError(f"the rebalance listener failed: {error!r}")

    def _take(self, partitions: Collection[TopicPartition], max_records: int) -> list[Record]:
        records: list[Record] = []
        if not self._is_open or self._is_deaf or self._broker.is_away:
            return records
        for partition in partitions:
            if partition not in self._positions or len(records) >= max_records:
                continue
            log = self._broker.log(partition)
            if self._positions[partition] > log.end_offset:  # another log: as a reset to earliest
                self._positions[partition] = log.start_offset
            if self._positions[partition] < log.start_offset:
                self._expired[partition] = self._positions[partition] = log.start_offset
            found = log.read(self._positions[partition], max_records - len(records))
            records += found
            # Behind the last record there may be offsets without any, e.g. of compaction.
            end = max(self._positions[partition], log.end_offset)
            self._positions[partition] = found[-1].offset + 1 if found else end
        return records

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
