"""Where a group begins that is to read from the end, whichever member comes first."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from consumer.engine.offsets.completion_map import log_id_of
from consumer.engine.offsets.ledger import Delivery, PartitionLedger
from consumer.kafka.source.beginning import begin_at_end
from consumer.ports import CommitRefusedError, OffsetAndMetadata, SourceError, TopicPartition
from tests.simulation import simulate

FIRST, SECOND, THIRD = EVERYWHERE = [TopicPartition("requests", number) for number in range(3)]
ENDS = {FIRST: 10, SECOND: 0, THIRD: 30}


class Group:
    """What a group has committed, and what its members are told."""

    def __init__(self) -> None:
        self.points: dict[TopicPartition, OffsetAndMetadata] = {}
        self.ends = dict(ENDS)
        self.commits = 0
        self.refuses = False
        self.is_outdated = False
        self.log_id = b""

    async def begin(self, *assigned: TopicPartition) -> bool:
        return await begin_at_end(
            EVERYWHERE,
            assigned,
            log_id=self.log_id,
            committed=self._committed,
            ends=self._ends,
            commit=self._commit,
            is_outdated=lambda: self.is_outdated,
        )

    async def _committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        return {each: self.points.get(each) for each in partitions}

    async def _ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {each: self.ends[each] for each in partitions if each in self.ends}

    async def _commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if self.refuses:
            raise CommitRefusedError("the group has moved on")
        self.commits += 1
        self.points.update(points)


def test_whoever_has_the_first_partition_commits_the_end_of_all() -> None:
    group = Group()

    assert simulate(group.begin(FIRST))

    assert group.points == {each: OffsetAndMetadata(end, "") for each, end in ENDS.items()}


def test_the_ends_are_committed_as_those_of_their_topic() -> None:
    group = Group()
    group.log_id = b"abcd"

    assert simulate(group.begin(FIRST))

    assert {each: point.offset for each, point in group.points.items()} == ENDS
    assert {log_id_of(point) for point in group.points.values()} == {b"abcd"}
    for point in group.points.values():
        ledger = PartitionLedger(point, 4096, b"abcd")
        assert ledger.next_offset == point.offset
        assert ledger.deliver(point.offset) is Delivery.ADMITTED


def test_a_group_that_has_committed_anything_has_begun() -> None:
    group = Group()
    group.points[SECOND] = OffsetAndMetadata(0, "")

    assert simulate(group.begin(FIRST, THIRD))

    assert group.points == {SECOND: OffsetAndMetadata(0, "")}


def test_the_other_members_wait_and_commit_nothing() -> None:
    group = Group()

    async def begin() -> list[bool]:
        other = asyncio.create_task(group.begin(SECOND, THIRD))
        await asyncio.sleep(5)
        assert not other.done()
        return [await group.begin(FIRST), await other]

    assert simulate(begin()) == [True, True]
    assert group.commits == 1


def test_who_waits_stops_waiting_where_the_group_rebalances() -> None:
    group = Group()

    async def begin() -> bool:
        waiting = asyncio.create_task(group.begin(SECOND))
        await asyncio.sleep(5)
        group.is_outdated = True
        return await waiting

    assert not simulate(begin())


def test_a_refused_commit_leaves_the_beginning_to_the_next_assignment() -> None:
    group = Group()
    group.refuses = True

    assert not simulate(group.begin(FIRST))


def test_where_nobody_says_where_a_log_ends_the_group_does_not_begin() -> None:
    group = Group()
    del group.ends[THIRD]

    with pytest.raises(
        SourceError, match="requests/2 ends; check that each partition has a leader"
    ):
        simulate(group.begin(FIRST))
    assert not group.points
