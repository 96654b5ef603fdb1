"""A reply topic that is missing, goes, comes or stands still: its own results suffer, no others."""

import asyncio
from collections import Counter

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.ports import TopicPartition
from tests.memory.transactions import TransactionFailure
from tests.simulated_service import ROUTE, SimulatedService
from tests.simulation import simulate

TO = {"headrace_reply_topic": b"bulk-1"}
ROUTE_WITH_REPLIES = ROUTE.model_copy(update={"reply_topics": ("bulk-*",)})


@pytest.fixture(autouse=True, params=["at_least_once", "exactly_once"])
def delivery(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(SimulatedService, "delivery", request.param)
    return str(request.param)


def make_service(*topics: str, partitions: int = 2) -> SimulatedService:
    service = SimulatedService(partitions=partitions, route=ROUTE_WITH_REPLIES)
    for topic in topics:
        service.broker.create_topic(topic, 2)
    return service


def ids(service: SimulatedService, topic: str) -> Counter[str]:
    if not service.broker.has_topic(topic):
        return Counter()
    lines = (orjson.loads(record.value or b"") for record in service.broker.records(topic))
    return Counter(line["custom_id"] for line in lines)


def codes(service: SimulatedService, topic: str = "results") -> set[str]:
    lines = (orjson.loads(record.value or b"") for record in service.broker.records(topic))
    return {line["error"]["code"] for line in lines if line["error"]}


async def until(condition: object, timeout_s: float = 300.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.05)


def test_each_reader_has_its_own_results() -> None:
    async def main() -> None:
        service = make_service("bulk-1", "bulk-2")
        first = service.publish(200, ms=5, **TO)
        second = service.publish(200, ms=5, headrace_reply_topic=b"bulk-2")
        third = service.publish(200, ms=5)
        await service.join()
        await until(lambda: len(service.results()) == 200)
        await until(lambda: len(ids(service, "bulk-1")) + len(ids(service, "bulk-2")) == 400)
        await service.close()
        assert ids(service, "bulk-1") == Counter(first)
        assert ids(service, "bulk-2") == Counter(second)
        assert service.results() == Counter(third)

    simulate(main())


def test_a_missing_topic_is_an_outcome_that_asks_no_model() -> None:
    async def main() -> None:
        service = make_service()
        lost = service.publish(50, ms=5, **TO)
        await service.join()
        await until(lambda: len(service.results()) == 50)
        assert set(service.results()) == set(lost)
        assert codes(service) == {"reply_topic_missing"}
        assert not service.model.started
        assert len(service.broker.records("dead-letters")) == 50
        service.broker.create_topic("bulk-1", 2)
        await asyncio.sleep(6.0)
        again = service.publish(50, ms=5, **TO)
        await until(lambda: ids(service, "bulk-1") == Counter(again))
        await service.close()

    simulate(main())


def test_a_topic_that_is_deleted_under_way_stops_nobody() -> None:
    async def main() -> None:
        service = make_service("bulk-1")
        for ms in range(20, 2_000, 200):
            service.publish(30, ms=ms, **TO)
            service.publish(30, ms=ms)
        await service.join()
        await until(lambda: len(ids(service, "bulk-1")) > 10)
        taken = set(ids(service, "bulk-1"))
        service.broker.delete_topic("bulk-1")
        await until(lambda: set(service.results()) | taken == set(service.expected))
        await asyncio.sleep(1.0)
        await service.close()
        assert codes(service) == {"reply_topic_missing"}
        committed = service.group.committed
        for partition in service.broker.partitions("requests"):
            assert committed[partition].offset == service.broker.log(partition).end_offset

    simulate(main())


def test_a_topic_that_stands_still_delays_its_own_results_only() -> None:
    async def main() -> None:
        service = make_service("bulk-1")
        service.broker.stand_still("bulk-1")
        waiting = service.publish(100, ms=5, **TO)
        others = service.publish(100, ms=5)
        member = await service.join()
        await until(lambda: service.results() == Counter(others), 20)
        more = service.publish(100, ms=5)
        await until(lambda: len(service.results()) == 200, 20)
        for _ in range(8):
            lines = member.waits()
            await asyncio.sleep(1.0)
        assert any(line.startswith("reply topic bulk-1 takes nothing: 100") for line in lines)
        assert not ids(service, "bulk-1")
        service.broker.go_on("bulk-1")
        await until(lambda: ids(service, "bulk-1") == Counter(waiting), 20)
        await service.close()
        assert service.results() == Counter([*others, *more])

    simulate(main())


def test_a_topic_that_stands_still_for_long_costs_dead_letters_and_no_stop() -> None:
    async def main() -> None:
        service = make_service("bulk-1", partitions=1)
        service.broker.stand_still("bulk-1")
        service.publish(100, ms=5, **TO)
        await service.join()
        await until(lambda: len(service.results()) == 100, 120)
        assert codes(service) == {"reply_topic_unavailable"}
        assert len(service.broker.records("dead-letters")) == 100
        await until(lambda: service.group.committed[TopicPartition("requests", 0)] == (100, ""))
        await service.close()

    simulate(main())


def test_a_topic_that_stands_still_holds_up_an_ordered_route_for_a_minute_at_most() -> None:
    async def main() -> None:
        route = ROUTE_WITH_REPLIES.model_copy(update={"ordering": "partition"})
        service = SimulatedService(partitions=1, route=route)
        service.broker.create_topic("bulk-1", 2)
        service.broker.stand_still("bulk-1")
        waiting = service.publish(30, ms=5, **TO)
        others = service.publish(30, ms=5)
        member = await service.join()
        await until(lambda: set(others) <= set(service.results()), 100)
        assert set(service.results()) == {*waiting, *others}
        assert len(service.broker.records("dead-letters")) == 30
        assert not ids(service, "bulk-1")
        waits = member.engine.waits(asyncio.get_running_loop().time())
        assert [line.split(":")[0] for line in waits] == ["reply topic bulk-1 takes nothing"]
        service.broker.go_on("bulk-1")
        await asyncio.sleep(11.0)
        later = service.publish(30, ms=5, **TO)
        await until(lambda: ids(service, "bulk-1") == Counter(later), 20)
        assert not member.engine._parked
        await service.close()

    simulate(main())


def test_what_waits_holds_up_neither_a_rebalance_nor_a_stop() -> None:
    async def main() -> None:
        service = make_service("bulk-1")
        service.broker.stand_still("bulk-1")
        waiting = service.publish(60, ms=5, **TO)
        first = await service.join()
        await asyncio.sleep(3.0)
        begun_s = service.clock.monotonic()
        await service.join()
        await until(lambda: all(each.engine.partitions for each in service.members))
        await service.leave(first)
        assert service.clock.monotonic() - begun_s < 10.0
        service.broker.go_on("bulk-1")
        await until(lambda: set(ids(service, "bulk-1")) == set(waiting), 60)
        await service.close()
        assert set(ids(service, "bulk-1").values()) == {1}

    simulate(main())


async def run(schedule: list[tuple[str, int]]) -> tuple[SimulatedService, Counter[str]]:
    """Return the service, and what had been published on topics that were deleted."""
    service = make_service("bulk-1", "bulk-2")
    deleted: Counter[str] = Counter()
    member = await service.join()
    await service.join()
    for action, size in schedule:
        match action:
            case "publish":
                service.publish(size, ms=10, headrace_reply_topic=b"bulk-%d" % (size % 3))
                service.publish(size, ms=10)
            case "delete" if service.broker.has_topic("bulk-1"):
                deleted += ids(service, "bulk-1")
                service.broker.delete_topic("bulk-1")
            case "create" if not service.broker.has_topic("bulk-1"):
                service.broker.create_topic("bulk-1", 1 + size % 3)
            case "stand still":
                service.broker.stand_still("bulk-2")
            case "go on":
                service.broker.go_on("bulk-2")
            case "fail":
                for sink in service.transactional_sinks:
                    sink.fail_next(*[TransactionFailure.ABORTED] * (size % 3))
            case "crash" if len(service.members) > 1:
                await service.crash(service.members[-1])
                await service.join()
        await asyncio.sleep(size / 50)
    service.broker.go_on("bulk-2")
    partitions = service.broker.partitions("requests")
    ends = {each: service.broker.log(each).end_offset for each in partitions}

    def is_done() -> bool:
        points = service.group.committed
        return all(points[each].offset == end for each, end in ends.items() if end)

    await until(lambda: all(each in service.group.committed for each, end in ends.items() if end))
    await until(is_done)
    member.check()
    await service.close()
    return service, deleted


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["publish", "publish", "delete", "create", "stand still", "go on", "fail", "crash"]
            ),
            st.integers(1, 60),
        ),
        max_size=14,
    )
)
def test_whatever_happens_to_reply_topics_each_partition_goes_on(
    schedule: list[tuple[str, int]],
) -> None:
    service, deleted = simulate(run(schedule))
    outcomes = service.results() + ids(service, "bulk-1") + ids(service, "bulk-2") + deleted
    assert set(outcomes) == set(service.expected)
    if service.delivery == "exactly_once":
        assert set(outcomes.values()) <= {1}
