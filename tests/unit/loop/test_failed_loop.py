"""A worker that has failed does nothing more: what it knows may be wrong."""

import asyncio

import pytest

from consumer.loop.settings import LoopSettings
from consumer.ports import Message, SourceError, TopicPartition
from tests.counting_model import CountingModel
from tests.simulated_service import SimulatedService, request
from tests.simulation import simulate

HEALTH_CHECKS_S = 12.0
"""About how long Serve takes to notice: three failed checks."""


def publish_named(service: SimulatedService, name: str, records: int, ms: float) -> list[str]:
    ids = [f"{name}-{number}" for number in range(records)]
    service.broker.append([Message("requests", b"k", request(each, ms), []) for each in ids])
    return ids


def test_a_topic_created_again_in_mid_flight_loses_nothing_of_the_new_log() -> None:
    async def main() -> None:
        service = SimulatedService(
            partitions=1, settings=LoopSettings(commit_interval_s=0.1, session_timeout_s=60.0)
        )
        member = await service.join()
        await asyncio.sleep(1)
        publish_named(service, "old", 10, ms=4_000)
        await asyncio.sleep(1)
        assert member.engine.in_flight_records == 10

        service.broker.recreate_topic("requests")
        await asyncio.sleep(0.1)
        new = publish_named(service, "new", 100, ms=10)
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="created again"):
            member.check()
        await asyncio.sleep(HEALTH_CHECKS_S)
        assert not service.results()
        assert not service.group.committed

        await service.leave(member)
        assert not service.group.committed
        await service.join()
        await asyncio.sleep(60)
        assert service.results() == dict.fromkeys(new, 1)
        await service.close()

    simulate(main())


def test_a_member_whose_name_was_taken_publishes_nothing_more() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1, model=CountingModel(window_records=50))
        member = await service.join()
        await asyncio.sleep(1)
        service.publish(5_000, ms=100)
        await asyncio.sleep(1.2)
        before = service.published_results()
        assert before

        service.sources[member].fail(SourceError("another consumer has joined as this one"))
        await asyncio.sleep(service.settings.idle_poll_s)
        assert member.failure is not None
        published, started = service.published_results(), service.model.started.total()
        await asyncio.sleep(HEALTH_CHECKS_S)
        assert service.published_results() == published
        assert service.model.started.total() == started
        assert service.model.in_flight == 0

        await service.leave(member)
        assert service.published_results() == published

    simulate(main())


def test_a_failed_member_gives_its_partitions_to_the_others_at_once() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=2)
        failed, other = await service.join(), await service.join()
        await asyncio.sleep(1)
        assert len(other.engine.partitions) == 1
        service.sources[failed].fail(SourceError("the broker refuses us"))
        await asyncio.sleep(2)
        assert len(other.engine.partitions) == 2
        service.publish(100)
        await asyncio.sleep(2)
        assert set(service.results().values()) == {1}
        assert len(service.results()) == 100
        await service.close()

    simulate(main())


def test_what_fails_in_the_middle_of_a_drain_ends_it_without_publishing() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        member = await service.join()
        await asyncio.sleep(1)
        publish_named(service, "long", 5, ms=20_000)
        publish_named(service, "short", 5, ms=5_000)
        await asyncio.sleep(1)
        leaving = asyncio.create_task(service.leave(member))
        before_s = service.clock.monotonic()
        await asyncio.sleep(1)
        for topic in ("results", "dead-letters"):
            service.broker.refuse(topic, lambda _message: "it takes nothing")
        await leaving
        assert service.clock.monotonic() - before_s < 6
        service.broker.set_message_limit("results", 1_000_000)
        await asyncio.sleep(HEALTH_CHECKS_S)
        assert not service.published_results()
        assert not any(point.offset for point in service.group.committed.values())

    simulate(main())


def test_a_rebalance_after_the_failure_starts_nothing_again() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        member = await service.join()
        await asyncio.sleep(1)
        service.publish(10, ms=2_000)
        await asyncio.sleep(1)
        service.sources[member].fail(SourceError("the broker refuses us"))
        await asyncio.sleep(service.settings.idle_poll_s)
        await member.revoking()
        await member.assigned([TopicPartition("requests", 0)])
        await asyncio.sleep(HEALTH_CHECKS_S)
        assert not service.published_results()
        assert service.model.started.total() == 10
        await service.close()

    simulate(main())
