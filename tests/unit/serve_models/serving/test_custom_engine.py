"""A user's class behind the engine, without Ray."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from handoff.chunk import STATUS_FAILED, STATUS_OK, STATUS_UNAVAILABLE, Chunk, Outcomes
from serve_models.serving.custom_engine import CustomEngine, CustomModelSickError
from tests.unit.serve_models.fakes import FakeClock


class Model:
    """Answers each record with the status that its line says; ``raise`` raises."""

    def __init__(self) -> None:
        self.is_unwell = False
        self.is_closed = False

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        try:
            for index, line in enumerate(chunk.lines):
                if line == b"hang":
                    await asyncio.Event().wait()
                if line == b"raise":
                    raise RuntimeError("lost the device")
                outcomes = Outcomes(replica="", window_records=1)
                outcomes.add(index, int(line), b"{}")
                yield outcomes
        finally:
            self.is_closed = True

    async def check_health(self) -> None:
        if self.is_unwell:
            raise RuntimeError("the device is gone")


async def statuses_of(engine: CustomEngine, *lines: bytes) -> list[int]:
    async with aclosing(engine.infer(Chunk("c", list(lines)))) as stream:
        return [status async for outcomes in stream for status in outcomes.statuses]


async def test_a_class_that_fails_and_is_well_goes_on() -> None:
    engine = CustomEngine(Model(), clock=FakeClock())
    assert await statuses_of(engine, b"500", b"200") == [STATUS_FAILED, STATUS_OK]
    with pytest.raises(RuntimeError, match="lost the device"):
        await statuses_of(engine, b"raise")
    await engine.check_health()


@pytest.mark.parametrize("failure", [b"500", b"raise"])
async def test_a_class_that_fails_and_is_unwell_leaves_and_its_records_are_lost(
    failure: bytes,
) -> None:
    deaths: list[str] = []
    model = Model()
    engine = CustomEngine(model, clock=FakeClock(), on_death=lambda: deaths.append("dead"))
    model.is_unwell = True
    # A class that is unwell and answers is Serve's to judge, by more checks than one.
    assert await statuses_of(engine, b"200", b"503") == [STATUS_OK, STATUS_UNAVAILABLE]
    assert deaths == []
    calls = [asyncio.create_task(statuses_of(engine, failure)) for _ in range(2)]
    while not deaths:
        await asyncio.sleep(0)
    calls.append(asyncio.create_task(statuses_of(engine, b"200")))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not any(call.done() for call in calls)
    assert deaths == ["dead"]
    with pytest.raises(CustomModelSickError, match="the device is gone"):
        await engine.check_health()
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert model.is_closed


async def test_without_a_process_to_end_calls_end_at_once() -> None:
    model = Model()
    engine = CustomEngine(model, clock=FakeClock())
    model.is_unwell = True
    with pytest.raises(CustomModelSickError, match="the device is gone"):
        await statuses_of(engine, b"500")
    with pytest.raises(CustomModelSickError, match="the device is gone"):
        await statuses_of(engine, b"200")


async def test_a_class_that_hangs_leaves() -> None:
    deaths: list[str] = []
    clock = FakeClock()
    engine = CustomEngine(Model(), clock=clock, on_death=lambda: deaths.append("dead"))
    assert await statuses_of(engine, b"200") == [STATUS_OK]
    async with aclosing(engine.infer(Chunk("c", [b"200", b"hang"]))) as stream:
        await anext(stream)
        call = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        clock.now_s += 600.0
        await engine.check_health()
        clock.now_s += 1.0
        with pytest.raises(CustomModelSickError, match="no outcome for 601 s"):
            await engine.check_health()
        assert deaths == ["dead"]
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
