"""A model replica that dies again and again beside one that works."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from handoff.chunk import STATUS_OK, Chunk, Outcomes
from schemas.settings.file import FlowSettings
from tests.counting_model import CountingModel, ReplicaDiedError
from tests.simulated_service import ROUTE, SimulatedService
from tests.simulation import simulate

SLOTS = 8
RECORD_S = 60.0
DIES_AFTER_S = 1.0
RESTARTS_IN_S = 10.0


class CrashLoopingModel(CountingModel):
    """Two replicas; the one that dies has always room, so that calls go there while it is up."""

    def __init__(self) -> None:
        super().__init__(window_records=SLOTS)
        self._room = asyncio.Semaphore(SLOTS)
        self._dies_at_s = 0.0
        self.answered_records = 0

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        while self._room.locked() and not self._is_other_up():
            await asyncio.sleep(0.1)
        if self._is_other_up():
            yield Outcomes("", 0)
            await asyncio.sleep(self._death_in_s())
            raise ReplicaDiedError("again")
        async with self._room:
            yield Outcomes("", 0)
            await asyncio.sleep(RECORD_S)
            outcomes = Outcomes("the one that works", SLOTS)
            outcomes.add(0, STATUS_OK, b"{}")
            self.answered_records += len(chunk.lines)
            yield outcomes

    def _is_other_up(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        return now_s < self._dies_at_s or now_s >= self._dies_at_s + RESTARTS_IN_S

    def _death_in_s(self) -> float:
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._dies_at_s:
            self._dies_at_s = now_s + DIES_AFTER_S
        return self._dies_at_s - now_s


@pytest.mark.parametrize("delivery", ["at_least_once"], indirect=True)
def test_the_replica_that_works_has_work(delivery: str) -> None:
    async def main() -> None:
        model = CrashLoopingModel()
        flow = FlowSettings(chunk_records=1, max_records=200)
        service = SimulatedService(
            partitions=1, model=model, route=ROUTE.model_copy(update={"flow": flow})
        )
        service.publish(1_000)
        await service.join()
        minutes = 30
        await asyncio.sleep(60 * minutes)
        assert model.answered_records > 0.75 * SLOTS * minutes
        await service.close()

    simulate(main())
