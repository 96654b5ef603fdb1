"""A consumer tells together what its engine, its source and its sink wait for."""

import asyncio

from consumer.engine.waiting.waits import LEAST_S, no_broker, subject
from tests.simulated_service import SimulatedService
from tests.simulation import simulate


async def told_for(service: SimulatedService, time_s: float) -> list[str]:
    """Look every second, as the report does; return what the last look found."""
    (member,) = service.members
    lines: list[str] = []
    for _ in range(int(time_s)):
        await asyncio.sleep(1)
        lines = member.waits()
    return lines


def test_a_broker_that_is_away_is_told_until_it_is_back() -> None:
    async def main() -> None:
        service = SimulatedService()
        await service.join()
        assert await told_for(service, 60) == []
        service.broker.go_away()
        assert await told_for(service, LEAST_S) == []
        assert await told_for(service, 2) == [no_broker("reading"), no_broker("publishing")]
        service.broker.come_back()
        assert await told_for(service, 2) == []
        await service.close()

    simulate(main())


def test_a_lost_session_is_told_until_the_group_has_answered() -> None:
    async def main() -> None:
        service = SimulatedService()
        member = await service.join()
        assert await told_for(service, 10) == []
        member.engine.suspend("the group may have given this consumer up: it joins again")
        lines = await told_for(service, 10)
        assert [subject(line) for line in lines] == ["the group may have given this consumer up"]
        service.group.rebalance()
        assert await told_for(service, 10) == []
        await service.close()

    simulate(main())
