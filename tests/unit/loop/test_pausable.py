"""Routes that are paused and go on, at any moment, in simulated time; under both deliveries."""

import asyncio
import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.engine.offsets.progress import Progress, replay, skip
from consumer.engine.pausing import Pause
from consumer.loop.pausable import PausableLoop
from consumer.ports import SourceError, TopicPartition
from consumer.replica.deployment import freeze_what_stays
from tests.counting_model import CountingModel
from tests.simulated_service import ROUTE, SimulatedService
from tests.simulation import EPOCH_MS, simulate

PAUSE = Pause(EPOCH_MS, "poison flood")
PARTITIONS = 3
LONG_S = 120.0


class Replicas:
    """Consumer replicas that all hear of the route's pauses, as by the status board."""

    def __init__(self, service: SimulatedService) -> None:
        self.service = service
        self.running: list[PausableLoop] = []
        self.pause: Pause | None = None

    async def add(self) -> PausableLoop:
        replica = PausableLoop(lambda earlier: self.service.make(earlier=earlier))
        await replica.start(self.pause)
        self.running.append(replica)
        return replica

    async def remove(self, number: int) -> None:
        await self.running.pop(number).drain()

    def tell(self, pause: Pause | None) -> None:
        self.pause = pause
        for replica in self.running:
            replica.follow(pause)

    async def until_out(self) -> None:
        async with asyncio.timeout(LONG_S):
            while not all(replica.is_out for replica in self.running):
                await asyncio.sleep(0.1)

    def check(self) -> None:
        for replica in self.running:
            replica.check()

    async def close(self) -> None:
        while self.running:
            await self.remove(0)


async def run_schedule(schedule: list[tuple[str, int]]) -> SimulatedService:
    service = SimulatedService(partitions=PARTITIONS, model=CountingModel(window_records=32))
    replicas = Replicas(service)
    service.publish(60, ms=30)
    await replicas.add()
    for action, size in schedule:
        await asyncio.sleep(size / 100)
        if action == "publish":
            service.publish(size, ms=size)
        elif action == "pause":
            replicas.tell(PAUSE)
        elif action == "resume":
            replicas.tell(None)
        elif action == "add" and len(replicas.running) < 4:
            await replicas.add()
        elif action == "remove" and len(replicas.running) > 1:
            await replicas.remove(size % len(replicas.running))
        elif action == "broker away":
            service.broker.go_away()
            await asyncio.sleep(size / 10)
            service.broker.come_back()
        elif action == "look":
            await look_at_paused(service, replicas)
        service.check_commits()
        replicas.check()
    replicas.tell(None)
    await service.until_done()
    await asyncio.sleep(5)
    service.check_commits()
    for partition in service.broker.partitions("requests"):
        log = service.broker.log(partition)
        if log.end_offset:
            assert service.group.committed[partition].offset == log.end_offset
    await replicas.close()
    assert not service.group._members
    return service


async def look_at_paused(service: SimulatedService, replicas: Replicas) -> None:
    """Check that a paused route does nothing, and that its group is empty."""
    if replicas.pause is None:
        return
    await replicas.until_out()
    assert not service.group._members
    before = dict(service.group.committed), service.results(), service.model.started.copy()
    await asyncio.sleep(10)
    assert before == (service.group.committed, service.results(), service.model.started)
    assert not service.model.in_flight


ACTIONS = ("publish", "pause", "resume", "add", "remove", "broker away", "look", "wait")


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(1, 60)), max_size=16))
def test_pauses_at_any_moment_lose_nothing_and_double_nothing(
    schedule: list[tuple[str, int]],
) -> None:
    service = simulate(run_schedule(schedule))
    assert set(service.results()) == set(service.expected)
    assert set(service.results().values()) == {1}


def test_what_is_in_flight_is_finished_and_what_waits_is_left() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1, model=CountingModel(window_records=8))
        replicas = Replicas(service)
        replica = await replicas.add()
        service.publish(400, ms=1_000)
        await asyncio.sleep(0.5)
        in_flight = service.model.in_flight
        assert in_flight

        replicas.tell(PAUSE)
        await replicas.until_out()
        assert len(service.results()) == sum(service.model.started.values())
        assert in_flight <= len(service.results()) < 400
        done = replica.loop.engine.counters.completed_records

        replicas.tell(None)
        await service.until_done()
        assert set(service.model.started.values()) == {1}
        assert replica.loop.engine.counters.completed_records == 400 > done
        await replicas.close()

    simulate(main())


def test_a_replica_that_starts_while_the_route_is_paused_stays_out() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        replicas = Replicas(service)
        replicas.tell(PAUSE)
        replica = await replicas.add()
        service.publish(5)
        await asyncio.sleep(30)
        assert replica.is_out
        assert not service.group._members
        assert not service.results()
        replica.check()

        replicas.tell(None)
        await service.until_done()
        await replicas.close()

    simulate(main())


def test_a_pause_that_ends_at_once_costs_one_leaving_at_most() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        replicas = Replicas(service)
        replica = await replicas.add()
        loop = replica.loop
        await asyncio.sleep(1)
        replicas.tell(PAUSE)
        replicas.tell(None)
        await asyncio.sleep(1)
        assert replica.loop is loop
        assert not replica.is_out
        await replicas.close()

    simulate(main())


def test_offsets_that_are_changed_during_a_pause_are_where_the_route_goes_on() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1, model=CountingModel(window_records=64))
        replicas = Replicas(service)
        await replicas.add()
        names = service.publish(40, ms=1)
        await service.until_done()
        replicas.tell(PAUSE)
        await replicas.until_out()
        late = service.publish(20, ms=1)

        partition = TopicPartition("requests", 0)
        at = [(record.key or b"").decode() for record in service.broker.records("requests")]
        progress = Progress.of(service.group.committed[partition])
        progress = replay(progress, 10, 14, 4096)
        progress = skip(progress, at.index(late[3]), 4096)
        service.group.committed[partition] = progress.point()

        replicas.tell(None)
        del service.expected[late[3]]
        await service.until_done()
        await asyncio.sleep(5)
        results = service.results()
        assert {name for name in names if results[name] == 2} == set(at[10:15])
        assert results[late[3]] == 0
        assert {results[name] for name in late if name != late[3]} == {1}
        assert service.group.committed[partition].offset == 60
        await replicas.close()

    simulate(main())


def test_a_consumer_that_cannot_come_back_fails_its_health_check() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        replicas = Replicas(service)
        replica = await replicas.add()
        await asyncio.sleep(1)
        replicas.tell(PAUSE)
        await replicas.until_out()
        service.broker.delete_topic("requests")
        replicas.tell(None)
        await asyncio.sleep(5)
        with pytest.raises(RuntimeError, match="does not come back"):
            replica.check()
        assert isinstance(replica.failure, SourceError)
        await replicas.close()

    simulate(main())


def test_a_replica_ends_while_it_waits_for_a_broker_to_join_again() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        replicas = Replicas(service)
        await replicas.add()
        await asyncio.sleep(1)
        replicas.tell(PAUSE)
        await replicas.until_out()
        service.broker.go_away()
        replicas.tell(None)
        await asyncio.sleep(5)
        async with asyncio.timeout(1):
            await replicas.close()

    simulate(main())


def test_a_route_that_is_paused_is_replaced_only_if_its_loop_failed() -> None:
    async def main() -> None:
        route = ROUTE.model_copy(update={"drain_timeout_s": 5.0})
        service = SimulatedService(partitions=1, route=route)
        replicas = Replicas(service)
        replica = await replicas.add()
        await asyncio.sleep(1)
        service.sources[replica.loop].fail(SourceError("the broker refuses us"))
        await asyncio.sleep(1)
        replicas.tell(PAUSE)
        await replicas.until_out()
        with pytest.raises(RuntimeError, match="refuses us"):
            replica.check()
        await replicas.close()

    simulate(main())


def test_a_loop_that_a_pause_replaced_is_let_go_although_what_stays_is_frozen() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        replica = PausableLoop(
            lambda earlier: service.make(earlier=earlier), joined=freeze_what_stays
        )
        await replica.start(None)
        first = weakref.ref(replica.loop)
        await asyncio.sleep(1)
        replica.follow(PAUSE)
        await asyncio.sleep(5)
        paused = replica.is_out
        assert paused
        service.sources.clear()
        replica.follow(None)
        await asyncio.sleep(5)
        assert not replica.is_out
        assert first() is None
        await replica.drain()

    try:
        simulate(main())
    finally:
        gc.unfreeze()
