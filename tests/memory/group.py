"""A consumer group in memory, by Kafka's eager protocol: all join again, all are assigned."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from consumer.kafka.group.assignment import Claim, assign
from consumer.ports import CommitRefusedError, OffsetAndMetadata, TopicPartition


class Membership(NamedTuple):
    """What a member was assigned last."""

    generation: int
    partitions: frozenset[TopicPartition]


class Member:
    """A member, by the group.

    Attributes:
        member_id: Its id; unique and never used again.
        rejoin: Set when the member has to join again.
        is_expelled: The group went on without it; it has to come back under a new id.
    """

    def __init__(self, member_id: str) -> None:
        self.member_id = member_id
        self.rejoin = asyncio.Event()
        self.is_expelled = False


class MemoryGroup:
    """A group that reads one topic.

    Args:
        partitions: The topic's partitions.
        metadata_limit_characters: Longer commit metadata is refused.
    """

    def __init__(
        self, partitions: Sequence[TopicPartition], metadata_limit_characters: int
    ) -> None:
        self._partitions = tuple(partitions)
        self._limit_characters = metadata_limit_characters
        self._members: dict[str, Member] = {}
        self._joining: dict[str, tuple[Claim, asyncio.Future[Membership | None]]] = {}
        self._next_member = 1
        self.generation = 0
        self.committed: dict[TopicPartition, OffsetAndMetadata] = {}
        self.owner_epochs: dict[TopicPartition, int] = {}

    def enter(self) -> Member:
        """Register a new member; it joins next, like all others."""
        member = Member(f"member-{self._next_member:06d}")
        self._next_member += 1
        self._members[member.member_id] = member
        self.rebalance()
        return member

    async def join(
        self, member: Member, claim: Claim, rebalance_timeout_s: float
    ) -> Membership | None:
        """Wait for all members to join, and return what this one is assigned.

        Members that do not join within ``rebalance_timeout_s`` are expelled.

        Returns:
            ``None`` where this member is expelled while it waits.
        """
        member.rejoin.clear()
        future: asyncio.Future[Membership | None] = asyncio.get_running_loop().create_future()
        self._joining[member.member_id] = (claim, future)
        self._settle_if_complete()
        done, _ = await asyncio.wait([future], timeout=rebalance_timeout_s)
        if not done:
            for missing in self._members.keys() - self._joining.keys():
                self.expel(missing)
        return await future

    def leave(self, member: Member) -> None:
        """Remove a member at once; the others share its partitions."""
        if self._members.pop(member.member_id, None) is not None:
            joining = self._joining.pop(member.member_id, None)
            if joining is not None and not joining[1].done():
                joining[1].set_result(None)
            self.rebalance()
            self._settle_if_complete()

    def expel(self, member_id: str) -> None:
        """Remove a member as if its session had expired; its next request fails."""
        member = self._members.get(member_id)
        if member is not None:
            member.is_expelled = True
            self.leave(member)
            member.rejoin.set()

    def rebalance(self) -> None:
        """Have every member join again."""
        for member in self._members.values():
            if member.member_id not in self._joining:
                member.rejoin.set()

    def commit(
        self, member: Member, generation: int, points: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> None:
        """Store offsets and metadata.

        Raises:
            CommitRefusedError: The member is out, or of another generation.
            ValueError: The metadata is longer than the limit.
        """
        if member.member_id not in self._members or generation != self.generation:
            raise CommitRefusedError(
                f"{member.member_id} commits in generation {generation}; "
                f"the group is in {self.generation}"
            )
        for partition, point in points.items():
            self._check_metadata(partition, point)
        self.committed.update(points)

    def fence(self, partition: TopicPartition) -> int:
        """Give a partition's transactional id to a new owner; return the owner's epoch."""
        epoch = self.owner_epochs.get(partition, 0) + 1
        self.owner_epochs[partition] = epoch
        return epoch

    def commit_in_transaction(self, partition: TopicPartition, point: OffsetAndMetadata) -> None:
        """Store an offset and metadata whatever the generation: the transactional id guards it.

        Raises:
            ValueError: The metadata is longer than the limit.
        """
        self._check_metadata(partition, point)
        self.committed[partition] = point

    def _check_metadata(self, partition: TopicPartition, point: OffsetAndMetadata) -> None:
        if len(point.metadata) > self._limit_characters:
            raise ValueError(
                f"{partition}: {len(point.metadata)} characters of commit metadata are over "
                f"the limit of {self._limit_characters}"
            )

    def _settle_if_complete(self) -> None:
        if not self._members or self._joining.keys() != self._members.keys():
            return
        self.generation += 1
        joined, self._joining = self._joining, {}
        assignment = assign(
            self._partitions, {member_id: claim for member_id, (claim, _) in joined.items()}
        )
        for member_id, (_, future) in joined.items():
            if not future.done():
                future.set_result(Membership(self.generation, frozenset(assignment[member_id])))
