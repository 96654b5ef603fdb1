"""The generator without Ray and vLLM, over a fake model. No sleep decides a result: events do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import pytest

from handoff.chunk import (
    STATUS_EXPIRED,
    STATUS_FAILED,
    STATUS_OK,
    STATUS_UNAVAILABLE,
    Chunk,
    Outcomes,
)
from serve_models.chunks.chunk_server import ReplicaLostError
from serve_models.generation.engine import Answer, GenerationEngine
from tests.unit.serve_models.fakes import FakeClock, FakePanicError, host


class FakeGenerator:
    """Answers a prompt with itself: at once, or once the test lets it go."""

    max_num_seqs = 4

    def __init__(self) -> None:
        self.let_go: dict[str, asyncio.Event] = {}
        self.at_work: set[str] = set()
        self.most_at_work = 0
        self.aborted: list[str] = []
        self.swallows_cancellation = False
        self.is_dead = False
        self.is_shut_down = False

    async def answer(self, url: str, body: dict[str, Any]) -> Answer:
        assert url == "/v1/completions"
        prompt: str = body["prompt"]
        self.at_work.add(prompt)
        self.most_at_work = max(self.most_at_work, len(self.at_work))
        try:
            if prompt.startswith("slow"):
                await self.let_go.setdefault(prompt, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.aborted.append(prompt)
            if not self.swallows_cancellation:
                raise
            return Answer(400, b'{"error":"client disconnected"}')
        finally:
            self.at_work.discard(prompt)
        if prompt == "cancelled within":
            raise asyncio.CancelledError
        if prompt == "refused":
            return Answer(422, b'{"error":{}}')
        if prompt == "poison":
            raise RuntimeError("bad sample")
        if prompt == "panic":
            raise FakePanicError("unwrap on None")
        if prompt == "deadly":
            self.is_dead = True
            raise ReplicaLostError("segmentation fault")
        return Answer(STATUS_OK, orjson.dumps({"text": prompt}), tokens=len(prompt))

    def release(self, prompt: str) -> None:
        self.let_go.setdefault(prompt, asyncio.Event()).set()

    def check_alive(self) -> None:
        if self.is_dead:
            raise ReplicaLostError("segmentation fault")

    def shut_down(self) -> None:
        self.is_shut_down = True


@asynccontextmanager
async def running(
    model: FakeGenerator,
    clock: FakeClock | None = None,
    on_death: Callable[[], None] | None = None,
) -> AsyncIterator[GenerationEngine]:
    engine = GenerationEngine(
        model,
        in_flight_ratio=1.5,
        outcome_linger_ms=0.0,
        host=host(clock, on_death),
    )
    try:
        yield engine
    finally:
        await engine.stop()
        assert model.is_shut_down
        assert not engine.in_flight_records


def chunk_of(*prompts: str, deadlines_ms: Sequence[int | None] = (), call: int = 0) -> Chunk:
    lines = [
        orjson.dumps({"custom_id": "c", "url": "/v1/completions", "body": {"prompt": prompt}})
        for prompt in prompts
    ]
    return Chunk("consumer-1", lines, list(deadlines_ms), call=call)


async def outcomes_of(stream: AsyncIterator[Outcomes]) -> AsyncIterator[tuple[int, int, bytes]]:
    """Yield (index, status, body) as they come; a second one for a record fails."""
    seen: set[int] = set()
    async with asyncio.timeout(120):
        async for outcomes in stream:
            assert outcomes.replica == "replica-1"
            for outcome in zip(outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True):
                assert outcome[0] not in seen
                seen.add(outcome[0])
                yield outcome


async def all_outcomes(engine: GenerationEngine, chunk: Chunk) -> dict[int, tuple[int, bytes]]:
    collected = {
        index: (status, body) async for index, status, body in outcomes_of(engine.infer(chunk))
    }
    assert sorted(collected) == list(range(len(chunk.lines)))
    return collected


async def wait_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0)


async def test_all_records_are_with_the_model_at_once_and_short_ones_come_out_first() -> None:
    model = FakeGenerator()
    async with running(model) as engine:
        prompts = ["slow story", *(f"short {n}" for n in range(10)), "slow poem"]
        stream = outcomes_of(engine.infer(chunk_of(*prompts)))
        short = [await anext(stream) for _ in range(10)]
        assert sorted(index for index, _, _ in short) == list(range(1, 11))
        assert model.at_work == {"slow story", "slow poem"}
        assert model.most_at_work >= 2
        model.release("slow poem")
        assert (await anext(stream))[0] == 11
        model.release("slow story")
        assert (await anext(stream))[0] == 0
        assert [outcome async for outcome in stream] == []


async def test_the_window_is_said_before_anything_is_answered() -> None:
    model = FakeGenerator()
    async with running(model) as engine, aclosing(engine.infer(chunk_of("slow"))) as stream:
        first = await anext(stream)
        assert (first.replica, first.window_records, first.indexes) == ("replica-1", 6, [])


async def test_a_consumer_learns_of_room_while_its_own_record_still_runs() -> None:
    model = FakeGenerator()
    bulk = Chunk("bulk", chunk_of("slow bulk").lines, [], 1_000)
    other = Chunk("other", chunk_of(*"abc").lines, [], 3)
    async with running(model) as engine, aclosing(engine.infer(bulk)) as stream:
        assert (await anext(stream)).window_records == 6
        async with aclosing(engine.infer(other)) as others:
            assert (await anext(others)).window_records == 3
            assert engine._window is not None
            assert engine._window.window_records("bulk", 0.0) == 3
        async with asyncio.timeout(120):
            told = await anext(stream)
        assert (told.window_records, told.indexes) == (6, [])
        model.release("slow bulk")
        async with asyncio.timeout(120):
            assert (await anext(stream)).indexes == [0]


async def test_each_record_answers_for_itself() -> None:
    async with running(FakeGenerator()) as engine:
        collected = await all_outcomes(engine, chunk_of("a", "poison", "panic", "refused", "b"))
        engine.check_health()
    assert {index: status for index, (status, _) in collected.items()} == {
        0: STATUS_OK,
        1: STATUS_FAILED,
        2: STATUS_FAILED,
        3: 422,
        4: STATUS_OK,
    }
    error = orjson.loads(collected[1][1])["error"]
    assert error["code"] == "model_failed"
    assert "bad sample" in error["message"]


async def test_a_record_whose_deadline_has_passed_takes_no_time_of_the_model() -> None:
    model, clock = FakeGenerator(), FakeClock()
    clock.now_ms = 5_000
    async with running(model, clock) as engine:
        chunk = chunk_of("late", "in time", deadlines_ms=[5_000, 10**15 - 1])
        collected = await all_outcomes(engine, chunk)
    assert collected[0][0] == STATUS_EXPIRED
    assert collected[1][0] == STATUS_OK
    assert model.most_at_work == 1


@pytest.mark.parametrize("swallows_cancellation", [False, True])
async def test_a_deadline_in_flight_aborts_the_record_and_no_other(
    swallows_cancellation: bool,
) -> None:
    model, clock = FakeGenerator(), FakeClock()
    model.swallows_cancellation = swallows_cancellation
    async with running(model, clock) as engine:
        chunk = chunk_of("slow 1", "slow 2", deadlines_ms=[clock.now_ms + 1, None])
        stream = outcomes_of(engine.infer(chunk))
        assert (await anext(stream))[:2] == (0, STATUS_EXPIRED)
        assert model.aborted == ["slow 1"]
        assert model.at_work == {"slow 2"}
        model.release("slow 2")
        assert (await anext(stream))[:2] == (1, STATUS_OK)


async def test_an_abandoned_stream_aborts_its_records_and_no_others() -> None:
    model = FakeGenerator()
    async with running(model) as engine:
        kept = asyncio.create_task(all_outcomes(engine, chunk_of("slow kept")))
        async with aclosing(engine.infer(chunk_of("slow 1", "quick", "slow 2"))) as stream:
            await anext(stream)
            assert (await anext(stream)).indexes == [1]
        await wait_until(lambda: model.at_work == {"slow kept"})
        assert sorted(model.aborted) == ["slow 1", "slow 2"]
        model.release("slow kept")
        assert (await kept)[0][0] == STATUS_OK
        await wait_until(lambda: not engine.in_flight_records)


@pytest.mark.parametrize("swallows_cancellation", [False, True])
async def test_a_cancelled_record_is_aborted_at_once_and_no_other(
    swallows_cancellation: bool,
) -> None:
    model = FakeGenerator()
    model.swallows_cancellation = swallows_cancellation
    async with running(model) as engine:
        stream = outcomes_of(engine.infer(chunk_of("slow 1", "slow 2", "slow 3", call=5)))
        first = asyncio.ensure_future(anext(stream))
        await wait_until(lambda: len(model.at_work) == 3)
        engine.cancel("consumer-1", {5: [0, 2]})
        assert (await first)[:2] == (0, STATUS_UNAVAILABLE)
        assert (await anext(stream))[:2] == (2, STATUS_UNAVAILABLE)
        assert sorted(model.aborted) == ["slow 1", "slow 3"]
        assert model.at_work == {"slow 2"}
        await wait_until(lambda: engine.in_flight_records == 1)
        model.release("slow 2")
        assert (await anext(stream))[:2] == (1, STATUS_OK)
        assert [each async for each in stream] == []


async def test_the_lines_are_not_kept_for_the_one_that_takes_longest() -> None:
    model = FakeGenerator()
    async with running(model) as engine:
        chunk = chunk_of("quick", "slow", call=1)
        stream = outcomes_of(engine.infer(chunk))
        assert (await anext(stream))[:2] == (0, STATUS_OK)
        assert chunk.lines == [b"", b""]
        model.release("slow")
        assert (await anext(stream))[:2] == (1, STATUS_OK)


async def test_a_cancellation_from_within_the_model_is_its_failure() -> None:
    async with running(FakeGenerator()) as engine:
        collected = await all_outcomes(engine, chunk_of("a", "cancelled within"))
    assert [collected[index][0] for index in (0, 1)] == [STATUS_OK, STATUS_FAILED]


async def test_death_is_told_once_and_a_stop_is_no_death() -> None:
    deaths = []
    model = FakeGenerator()
    async with running(model, on_death=lambda: deaths.append("dead")) as engine:
        call = asyncio.create_task(all_outcomes(engine, chunk_of("deadly", "deadly")))
        await wait_until(lambda: deaths)
        with pytest.raises(ReplicaLostError):
            engine.check_health()
    with pytest.raises(ReplicaLostError):
        await call
    assert deaths == ["dead"]
    async with running(FakeGenerator(), on_death=lambda: deaths.append("stopped")):
        pass
    assert deaths == ["dead"]


async def test_no_call_ends_in_a_process_that_is_about_to_end() -> None:
    """Its consumer would send the records to this replica again, and they lose another attempt."""
    deaths: list[str] = []
    finished: list[tuple[int, int]] = []
    model = FakeGenerator()
    async with running(model, on_death=lambda: deaths.append("dead")) as engine:

        async def keep(chunk: Chunk) -> None:
            async for outcomes in engine.infer(chunk):
                finished.extend(zip(outcomes.indexes, outcomes.statuses, strict=True))

        calls = [asyncio.create_task(keep(chunk_of("quick", "slow")))]
        await wait_until(lambda: finished)
        calls.append(asyncio.create_task(keep(chunk_of("deadly"))))
        await wait_until(lambda: deaths)
        calls.append(asyncio.create_task(keep(chunk_of("too late"))))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(call.done() for call in calls)
        assert finished == [(0, STATUS_OK)]
        await engine.stop()
        for call in calls:
            with pytest.raises(ReplicaLostError):
                await call


async def test_death_ends_every_call_as_lost_and_fails_the_health_check() -> None:
    model = FakeGenerator()
    async with running(model) as engine:
        waiting = asyncio.create_task(all_outcomes(engine, chunk_of("slow 1", "slow 2")))
        await wait_until(lambda: len(model.at_work) == 2)
        engine.check_health()
        # Not answered as records that the model failed on: these would be given up in the end.
        with pytest.raises(ReplicaLostError, match="segmentation fault"):
            await all_outcomes(engine, chunk_of("deadly", "slow 3"))
        with pytest.raises(ReplicaLostError, match="segmentation fault"):
            await waiting
        with pytest.raises(ReplicaLostError, match="segmentation fault"):
            engine.check_health()
        with pytest.raises(ReplicaLostError):
            await anext(engine.infer(chunk_of("more")))


async def test_what_is_finished_at_the_death_is_answered() -> None:
    async with running(FakeGenerator()) as engine:
        stream = outcomes_of(engine.infer(chunk_of("a", "b", "deadly")))
        answered = [(await anext(stream))[:2] for _ in range(2)]
        with pytest.raises(ReplicaLostError):
            await anext(stream)
    assert sorted(answered) == [(0, STATUS_OK), (1, STATUS_OK)]


async def test_a_model_that_dies_idle_is_found_out_by_the_health_check() -> None:
    model = FakeGenerator()
    async with running(model) as engine:
        waiting = asyncio.create_task(all_outcomes(engine, chunk_of("slow")))
        await wait_until(lambda: model.at_work)
        model.is_dead = True
        with pytest.raises(ReplicaLostError):
            engine.check_health()
        with pytest.raises(ReplicaLostError):
            await waiting


async def test_stopping_ends_the_calls_under_way() -> None:
    model = FakeGenerator()
    async with running(model) as engine:
        waiting = asyncio.create_task(all_outcomes(engine, chunk_of("slow")))
        await wait_until(lambda: model.at_work)
        await engine.stop()
        with pytest.raises(ReplicaLostError, match="stopped"):
            await waiting
        assert model.aborted == ["slow"]


async def test_the_tokens_of_what_was_generated_travel_with_the_outcomes() -> None:
    async with running(FakeGenerator()) as engine:
        streamed = [each async for each in engine.infer(chunk_of("abc", "refused", "poison", "de"))]

    assert sum(each.measured_records for each in streamed) == 2
    assert sum(each.measured_tokens for each in streamed) == 5
