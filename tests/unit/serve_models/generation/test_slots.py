"""A slot is free for the next record one step after its record was cancelled or expired."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stand_in_engine import StandInEngine
from handoff.chunk import STATUS_EXPIRED, STATUS_OK, STATUS_UNAVAILABLE, Chunk
from serve_models.generation.engine import GenerationEngine
from tests.unit.serve_models.fakes import FakeClock, host

SLOTS = 4
LONG_MS = 3_600_000


class Replica:
    """An engine whose steps the test takes, and the outcomes of its calls by (call, index)."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.model = StandInEngine(SLOTS, self.clock)
        self.engine = GenerationEngine(
            self.model, in_flight_ratio=2.0, outcome_linger_ms=0.0, host=host(self.clock)
        )
        self.statuses: dict[tuple[int, int], int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def call(
        self, number: int, *milliseconds: int, deadlines_ms: list[int | None] | None = None
    ) -> None:
        lines = [
            orjson.dumps({"url": "/v1/completions", "body": {"max_tokens": each}})
            for each in milliseconds
        ]
        chunk = Chunk("consumer", lines, deadlines_ms or [], call=number)
        self._tasks.append(asyncio.ensure_future(self._read(number, chunk)))

    async def _read(self, number: int, chunk: Chunk) -> None:
        async for outcomes in self.engine.infer(chunk):
            for call, each in ((number, outcomes), *outcomes.others.items()):
                for index, status in zip(each.indexes, each.statuses, strict=True):
                    assert (call, index) not in self.statuses
                    self.statuses[call, index] = status

    async def step(self, after_ms: int = 1) -> None:
        """Let what was asked take effect, then take one step."""
        await self.settle()
        self.clock.now_s += after_ms / 1000
        self.clock.now_ms += after_ms
        self.model.step()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self.engine.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert (self.model.running, self.model.waiting) == (0, 0)


@asynccontextmanager
async def replica() -> AsyncIterator[Replica]:
    made = Replica()
    try:
        yield made
    finally:
        await made.close()


async def test_a_cancelled_record_has_left_its_slot_at_the_next_step() -> None:
    async with replica() as one:
        one.call(1, *[LONG_MS] * SLOTS)
        one.call(2, 5, 5)
        await one.step()
        assert (one.model.running, one.model.waiting) == (SLOTS, 2)
        one.engine.cancel("consumer", {1: [0, 3]})
        await one.step()
        assert (one.model.running, one.model.waiting) == (SLOTS, 0)
        assert one.statuses == {(1, 0): STATUS_UNAVAILABLE, (1, 3): STATUS_UNAVAILABLE}
        await one.step(after_ms=5)
        assert one.statuses[2, 0] == one.statuses[2, 1] == STATUS_OK


async def test_a_record_past_its_deadline_has_left_its_slot_at_the_next_step() -> None:
    async with replica() as one:
        # The event loop's own time decides when a deadline passes: 1 ms from now.
        one.call(1, *[LONG_MS] * SLOTS, deadlines_ms=[one.clock.now_ms + 1, None, None, None])
        one.call(2, 5)
        one.model.step()
        async with asyncio.timeout(120):
            while not one.statuses:
                await asyncio.sleep(0.001)
        assert one.statuses == {(1, 0): STATUS_EXPIRED}
        await one.step()
        assert (one.model.running, one.model.waiting) == (SLOTS, 0)
        await one.step(after_ms=5)
        assert one.statuses[2, 0] == STATUS_OK


async def test_a_call_that_is_closed_has_left_its_slots_at_the_next_step() -> None:
    async with replica() as one:
        one.call(1, *[LONG_MS] * SLOTS)
        one.call(2, 5)
        await one.step()
        one._tasks[0].cancel()
        await one.step()
        assert (one.model.running, one.model.waiting) == (1, 0)


@pytest.mark.parametrize("records", [1, 3, SLOTS])
async def test_a_record_that_waits_for_a_slot_is_cancelled_in_the_queue(records: int) -> None:
    async with replica() as one:
        one.call(1, *[LONG_MS] * SLOTS)
        one.call(2, *[5] * records)
        await one.step()
        one.engine.cancel("consumer", {2: range(records)})
        await one.settle()
        assert (one.model.running, one.model.waiting) == (SLOTS, 0)
        assert set(one.statuses.values()) == {STATUS_UNAVAILABLE}


@given(
    calls=st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=5), min_size=1, max_size=5),
    cancelled=st.sets(st.tuples(st.integers(1, 5), st.integers(0, 4))),
    after_steps=st.integers(0, 5),
)
def test_whatever_is_cancelled_each_record_has_one_outcome_and_no_slot_is_kept(
    calls: list[list[int]], cancelled: set[tuple[int, int]], after_steps: int
) -> None:
    async def run() -> None:
        async with replica() as one:
            for number, milliseconds in enumerate(calls, start=1):
                one.call(number, *milliseconds)
            await one.settle()
            for _ in range(after_steps):
                await one.step()
            by_call: dict[int, list[int]] = {}
            for number, index in cancelled:
                by_call.setdefault(number, []).append(index)
            before = dict(one.statuses)
            one.engine.cancel("consumer", by_call)
            await one.step()
            records = {
                (number, index)
                for number, milliseconds in enumerate(calls, start=1)
                for index in range(len(milliseconds))
            }
            wanted = len(records - cancelled - one.statuses.keys())
            assert one.model.running == min(SLOTS, wanted)
            for _ in range(120):
                await one.step()
            assert one.statuses.keys() == records
            for record, status in one.statuses.items():
                is_cancelled = record in cancelled and record not in before
                assert status == (STATUS_UNAVAILABLE if is_cancelled else STATUS_OK)

    asyncio.run(run())
