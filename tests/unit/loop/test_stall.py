"""A consumer that stands still says so and is replaced; one that has a reason to wait is not."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from handoff.chunk import Chunk, Outcomes
from tests.counting_model import CountingModel
from tests.simulated_service import SimulatedService
from tests.simulation import simulate

HOURS_S = 2 * 3600.0


def test_a_consumer_that_reads_nothing_of_what_there_is_fails_and_says_so() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        member = await service.join()
        service.publish(10)
        await asyncio.sleep(1)
        service.sources[member].go_deaf()
        await asyncio.sleep(HOURS_S)
        member.check()  # nothing to read

        service.publish(5)
        await asyncio.sleep(600)
        with pytest.raises(RuntimeError, match=r"5 offsets of requests/0 .* from 10 on"):
            member.check()
        await service.leave(member)
        await service.join()
        await service.until_done()
        await service.close()

    simulate(main())


def test_records_that_are_never_dispatched_fail_the_consumer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        service = SimulatedService()
        member = await service.join()
        await asyncio.sleep(1)
        monkeypatch.setattr(member.engine, "next_call", lambda *_: None)
        service.publish(5)
        await asyncio.sleep(600)
        with pytest.raises(RuntimeError, match="5 records wait for a model replica"):
            member.check()
        await service.close()

    simulate(main())


class AbsentModel(CountingModel):
    """A deployment without a replica, e.g. while one loads: calls wait for one."""

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        await asyncio.Event().wait()
        yield Outcomes(replica=f"never, for {len(chunk.lines)}", window_records=1)


@pytest.mark.parametrize(
    ("model", "ms", "is_broker_away"),
    [
        (AbsentModel(), 10, False),
        (CountingModel(is_poison=lambda _custom_id: True), 10, False),
        (CountingModel(window_records=1), 550_000, False),
        (CountingModel(), 10, True),
    ],
    ids=["no replica", "a model that is down", "long records", "no broker"],
)
def test_what_has_a_reason_to_wait_is_no_standing_still(
    model: CountingModel, ms: float, is_broker_away: bool
) -> None:
    async def main() -> None:
        service = SimulatedService(model=model)
        member = await service.join()
        await asyncio.sleep(1)
        if is_broker_away:
            service.broker.go_away()
        service.publish(50, ms=ms)
        await asyncio.sleep(540)
        assert not service.results()
        member.check()

    simulate(main())
