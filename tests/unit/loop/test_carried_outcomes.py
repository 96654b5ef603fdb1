"""Outcomes that come in the stream of another call, before or after the end of their own."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import orjson
import pytest

from handoff.chunk import CARRIED_WITHIN_S, Chunk, Outcomes
from tests.counting_model import CountingModel
from tests.simulated_service import SimulatedService
from tests.simulation import simulate


class CarryingModel(CountingModel):
    """The first call runs on, and carries the outcomes of all others, after their end."""

    def __init__(self, late_s: float) -> None:
        super().__init__(window_records=16)
        self._late_s = late_s
        self._carried: asyncio.Queue[Outcomes] = asyncio.Queue()
        self._first: int | None = None
        self.calls = 0

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        self.calls += 1
        yield Outcomes("replica-1", self.window_records)
        if self._first is None:
            self._first = chunk.call
            while True:
                yield await self._carried.get()
        own = Outcomes("replica-1", 0)
        for index, line in enumerate(chunk.lines):
            own.add(index, 200, orjson.dumps({"echo": orjson.loads(line)["custom_id"]}))
        carried = Outcomes("replica-1", 0, others={chunk.call: own})
        asyncio.get_running_loop().call_later(self._late_s, self._carried.put_nowait, carried)
        yield Outcomes("replica-1", 0, elsewhere=len(chunk.lines))

    async def cancel(self, consumer: str, records: Mapping[int, Sequence[int]]) -> None:
        pass


@pytest.mark.parametrize("late_s", [0.0, CARRIED_WITHIN_S / 2])
def test_a_call_that_ends_waits_for_what_another_carries(late_s: float) -> None:
    async def main() -> None:
        model = CarryingModel(late_s)
        service = SimulatedService(partitions=1, model=model)
        member = await service.join()
        (first,) = service.publish(1)
        await asyncio.sleep(1)
        others = service.publish(10)
        await asyncio.sleep(2 * CARRIED_WITHIN_S)
        assert service.results() == dict.fromkeys(others, 1)
        assert member.engine.counters.retried_records == 0
        assert member.engine.in_flight_records == 1, first
        await service.crash(member)

    simulate(main())


def test_what_does_not_come_is_a_lost_call_and_goes_again() -> None:
    async def main() -> None:
        model = CarryingModel(late_s=1e6)
        service = SimulatedService(partitions=1, model=model)
        member = await service.join()
        service.publish(1)
        await asyncio.sleep(1)
        service.publish(2)
        await asyncio.sleep(CARRIED_WITHIN_S - 1)
        assert (model.calls, member.engine.counters.retried_records) == (2, 0)
        await asyncio.sleep(2)
        assert member.engine.counters.retried_records == 2
        await service.crash(member)

    simulate(main())
