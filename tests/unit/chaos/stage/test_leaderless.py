"""While one partition has no leader, the others must continue, and its node returns in any case."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, cast

import pytest

from tests.chaos.faults.faults import Faults
from tests.chaos.faults.schedule import Fault, Kind
from tests.chaos.stage.stage import PARTITIONS, Delivery, Stage, make_route
from tests.simulation import simulate

VICTIM = 1 + PARTITIONS
LEADERLESS, NODE = 1, 2
OTHERS = [each for each in range(PARTITIONS) if each != LEADERLESS]


class StubNode:
    def __init__(self, number: int) -> None:
        self.number = number
        self.is_up = True

    async def stop(self) -> None:
        self.is_up = False


class StubStage:
    """A stage of which some partitions continue; it is its own cluster, checker and load."""

    def __init__(self, going_on: Collection[int], delivery: Delivery) -> None:
        self.cluster = self.checker = self.load = self
        self.nodes = [StubNode(number) for number in (1, 2, 3)]
        self.going_on = going_on
        self.failures: list[str] = []
        self.was_down: set[int] = set()
        self.left_out: list[list[int]] = []
        self.route = make_route(delivery)
        self.placed: list[tuple[str, int, list[int]]] = []

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def latest_outcome_s(self, partition: int) -> float:
        return self.now_s() if partition in self.going_on else 0.0

    async def place(self, topic: str, partition: int, nodes: list[int]) -> None:
        assert all(node.is_up for node in self.nodes)
        self.placed.append((topic, partition, nodes))

    async def published_around(self, partitions: list[int]) -> None:
        self.left_out.append(partitions)

    async def during(self, _name: str, action: Callable[[], Awaitable[Any]], **_: object) -> None:
        await action()

    async def until(self, condition: Callable[[], bool], patience_s: float, what: str) -> None:
        self.was_down = {node.number for node in self.nodes if not node.is_up}
        give_up_at_s = self.now_s() + patience_s
        while not condition():
            if self.now_s() > give_up_at_s:
                self.failures.append(what)
                return
            await asyncio.sleep(0.1)

    async def restart(self, node: StubNode) -> None:
        node.is_up = True

    async def balanced(self) -> None:
        pass


def stage_after(
    kind: Kind, going_on: Collection[int], delivery: Delivery = "at_least_once"
) -> StubStage:
    stage = StubStage(going_on, delivery)

    async def main() -> None:
        fault = Fault(number=1, kind=kind, pause_s=0.0, victim=VICTIM, strength=1.0)
        await Faults(cast("Stage", stage)).do(fault)

    simulate(main())
    return stage


@pytest.mark.parametrize(
    ("kind", "delivery", "topic"),
    [
        (Kind.LEADERLESS_RESULTS, "at_least_once", "chaos.results"),
        (Kind.LEADERLESS_REQUESTS, "at_least_once", "chaos.requests"),
        (Kind.LEADERLESS_REQUESTS, "exactly_once", "chaos.requests"),
    ],
)
def test_all_other_partitions_must_go_on(kind: Kind, delivery: Delivery, topic: str) -> None:
    good, bad = stage_after(kind, OTHERS, delivery), stage_after(kind, OTHERS[1:], delivery)
    assert not good.failures
    assert len(bad.failures) == 1
    for stage in (good, bad):
        assert stage.was_down == {NODE}
        assert stage.placed == [(topic, LEADERLESS, [NODE]), (topic, LEADERLESS, [1, 2, 3])]
        assert all(each.is_up for each in stage.nodes)


def test_transactions_may_wait_for_a_partition_of_the_results() -> None:
    stage = stage_after(Kind.LEADERLESS_RESULTS, [], "exactly_once")
    assert not stage.failures
    assert len(stage.placed) == 2
    assert all(each.is_up for each in stage.nodes)


def test_a_partition_of_requests_without_a_leader_gets_no_load_meanwhile() -> None:
    assert stage_after(Kind.LEADERLESS_REQUESTS, OTHERS).left_out == [[LEADERLESS], []]
    assert stage_after(Kind.LEADERLESS_RESULTS, OTHERS).left_out == []
