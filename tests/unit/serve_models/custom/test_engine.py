"""A user's class behind the engine, without Ray."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from handoff.chunk import STATUS_FAILED, STATUS_OK, STATUS_UNAVAILABLE, Chunk, Outcomes
from serve_models.chunks.call import Call
from serve_models.chunks.chunk_server import ReplicaLostError
from serve_models.custom.engine import CustomEngine
from tests.unit.serve_models.fakes import FakeClock, host


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
    engine = CustomEngine(Model(), host())
    assert await statuses_of(engine, b"500", b"200") == [STATUS_FAILED, STATUS_OK]
    with pytest.raises(RuntimeError, match="lost the device"):
        await statuses_of(engine, b"raise")
    engine.check_health()


@pytest.mark.parametrize("failure", [b"500", b"raise"])
async def test_a_class_that_fails_and_is_unwell_leaves_and_its_records_are_lost(
    failure: bytes,
) -> None:
    deaths: list[str] = []
    model = Model()
    engine = CustomEngine(model, host(on_death=lambda: deaths.append("dead")))
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
    with pytest.raises(ReplicaLostError, match="the device is gone"):
        engine.check_health()
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert model.is_closed


async def test_without_a_process_to_end_calls_end_at_once() -> None:
    model = Model()
    engine = CustomEngine(model, host())
    model.is_unwell = True
    with pytest.raises(ReplicaLostError, match="the device is gone"):
        await statuses_of(engine, b"500")
    with pytest.raises(ReplicaLostError, match="the device is gone"):
        await statuses_of(engine, b"200")


async def test_a_class_that_hangs_leaves() -> None:
    deaths: list[str] = []
    clock = FakeClock()
    engine = CustomEngine(Model(), host(clock, lambda: deaths.append("dead")))
    assert await statuses_of(engine, b"200") == [STATUS_OK]
    async with aclosing(engine.infer(Chunk("c", [b"200", b"hang"]))) as stream:
        await anext(stream)
        call = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        clock.now_s += 600.0
        engine.check_health()
        clock.now_s += 1.0
        with pytest.raises(ReplicaLostError, match="no outcome for 601 s"):
            engine.check_health()
        assert deaths == ["dead"]
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


class Held:
    """A stream that yields, raises or ends when the test says so."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[Outcomes | BaseException | None] = asyncio.Queue()
        self.tasks: set[object] = set()
        self.is_closed = False

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        try:
            self.tasks.add(asyncio.current_task())
            while (item := await self.items.get()) is not None:
                self.tasks.add(asyncio.current_task())
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.is_closed = True


def answer(index: int, window_records: int, replica: str = "") -> Outcomes:
    outcomes = Outcomes(replica, window_records)
    outcomes.add(index, 200, b"{}", tokens=5)
    return outcomes


async def test_a_class_that_is_silent_for_long_is_named_and_the_rest_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Call, "named_after_s", 1e-6)
    held = Held()
    async with asyncio.timeout(120):
        stream = CustomEngine(held, host()).infer(Chunk("c", [b"1", b"2"]))
        assert await anext(stream) == Outcomes("replica-1", 0)
        # A window alone, then windows with outcomes, and one that leaves it as it was.
        held.items.put_nowait(Outcomes("", 7))
        assert await anext(stream) == Outcomes("replica-1", 7)
        held.items.put_nowait(answer(1, 8, "mine"))
        assert await anext(stream) == answer(1, 8, "replica-1")
        held.items.put_nowait(answer(0, 0))
        assert await anext(stream) == answer(0, 8, "replica-1")
        held.items.put_nowait(None)
        assert [each async for each in stream] == []
    assert held.is_closed
    # A timeout or a task group may stand around its yields.
    assert len(held.tasks) == 1


async def test_what_a_class_does_after_its_last_outcome_is_part_of_the_call() -> None:
    held = Held()
    async with asyncio.timeout(120):
        stream = CustomEngine(held, host()).infer(Chunk("c", [b"1"]))
        held.items.put_nowait(answer(0, 7))
        assert (await anext(stream)).indexes == [0]
        ending = asyncio.ensure_future(anext(stream, None))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not ending.done()
        assert not held.is_closed
        held.items.put_nowait(None)
        assert await ending is None
    assert held.is_closed


async def test_a_class_that_answers_twice_is_heard_once() -> None:
    held = Held()
    for item in (answer(0, 7), answer(0, 7), answer(1, 7), None):
        held.items.put_nowait(item)
    async with asyncio.timeout(120):
        stream = CustomEngine(held, host()).infer(Chunk("c", [b"1", b"2"]))
        assert [index async for each in stream for index in each.indexes] == [0, 1]


@pytest.mark.parametrize("error", [RuntimeError("broken"), asyncio.CancelledError("broken")])
async def test_what_a_class_raises_comes_through_behind_its_outcomes(error: BaseException) -> None:
    held = Held()
    held.items.put_nowait(answer(0, 7))
    held.items.put_nowait(error)
    async with asyncio.timeout(120):
        stream = CustomEngine(held, host()).infer(Chunk("c", [b"1", b"2"]))
        assert (await anext(stream)).window_records == 7
        with pytest.raises(RuntimeError, match=r"broken|cancelled from within"):
            await anext(stream)


@pytest.mark.parametrize("is_started", [True, False])
async def test_a_class_is_closed_with_the_stream(
    is_started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Call, "named_after_s", 1e-6)
    held = Held()
    async with asyncio.timeout(120):
        stream = CustomEngine(held, host()).infer(Chunk("c", [b"1", b"2"]))
        await anext(stream)
        if is_started:
            held.items.put_nowait(answer(0, 7))
            await anext(stream)
        await stream.aclose()
    assert held.is_closed


async def test_a_stop_ends_the_calls_of_a_class_and_closes_it() -> None:
    held = Held()
    engine = CustomEngine(held, host())
    async with asyncio.timeout(120):
        stream = engine.infer(Chunk("c", [b"1", b"2"]))
        held.items.put_nowait(answer(0, 7))
        await anext(stream)
        await engine.stop()
        assert held.is_closed
        with pytest.raises(ReplicaLostError, match="the replica was stopped"):
            await anext(stream)


class WithoutChunk:
    async def infer(self) -> AsyncIterator[Outcomes]:
        yield Outcomes("", 0)


async def test_a_class_that_takes_no_chunk_loses_calls_and_not_the_process() -> None:
    deaths: list[str] = []
    engine = CustomEngine(WithoutChunk(), host(on_death=lambda: deaths.append("dead")))  # type: ignore[arg-type] # a user's slip
    async with asyncio.timeout(120):
        with pytest.raises(TypeError, match="positional argument"):
            await statuses_of(engine, b"200")
    assert not deaths


async def test_a_class_goes_on_for_the_records_that_are_wanted_and_no_longer() -> None:
    model = Model()
    engine = CustomEngine(model, host())
    statuses: dict[int, int] = {}

    async def read() -> None:
        async for outcomes in engine.infer(Chunk("c", [b"200", b"hang", b"200"], call=4)):
            statuses.update(zip(outcomes.indexes, outcomes.statuses, strict=True))

    call = asyncio.create_task(read())
    while not statuses:
        await asyncio.sleep(0)
    engine.cancel("c", {4: [2]})
    for _ in range(20):
        await asyncio.sleep(0)
    assert statuses == {0: STATUS_OK, 2: STATUS_UNAVAILABLE}
    was_closed = model.is_closed
    engine.cancel("c", {4: [1]})
    async with asyncio.timeout(120):
        await call
    assert (was_closed, model.is_closed) == (False, True)
    assert statuses[1] == STATUS_UNAVAILABLE
    engine.check_health()


async def test_what_a_class_breaks_costs_its_own_call_only() -> None:
    """Its outcomes never travel in the stream of another call."""
    engine = CustomEngine(Model(), host())
    calls = [
        asyncio.create_task(anext(engine.infer(Chunk("c", [b"200", b"hang"], call=each))))
        for each in (1, 2)
    ]
    async with asyncio.timeout(120):
        items = await asyncio.gather(*calls)
    assert [(each.indexes, each.others) for each in items] == [([0], {}), ([0], {})]
    await engine.stop()
