"""The pipeline's engine over models that answer when the test says so."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Never

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoff.breaker import FAILURES_TO_OPEN, FIRST_PAUSE_S
from handoff.cancelling import AGAIN_AFTER_S
from handoff.chunk import (
    STATUS_EXPIRED,
    STATUS_FAILED,
    STATUS_LOST,
    STATUS_UNAVAILABLE,
    Chunk,
    Outcomes,
)
from schemas.settings.pipelines import PipelineSettings
from serve_models.chunks.chunk_server import Host, ReplicaLostError
from serve_models.chunks.window import CALLER_FORGOTTEN_AFTER_S
from serve_models.pipeline import engine as engine_module
from serve_models.pipeline.engine import PipelineEngine
from serve_models.pipeline.graph import Ending, RecordRun
from tests.unit.serve_models.fakes import FakeClock

CHAT = "/v1/chat/completions"
AN_HOUR_MS = 3_600_000
GUARDED: dict[str, Any] = {
    "guard": {
        "model": "classifier",
        "url": "/classify",
        "body": {"input": "$request.text"},
        "refuse": [{"when": {"value": "$guard.label", "equals": "unsafe"}}],
    },
    "generate": {"model": "chat", "after": ["guard"]},
}


class HeldCall:
    """One call of a model, answered piece by piece."""

    def __init__(self, chunk: Chunk, model: "HeldModel") -> None:
        self.chunk = chunk
        self.model = model
        self.items: asyncio.Queue[Outcomes | BaseException | None] = asyncio.Queue()
        self.is_closed = False
        self.cancelled: list[int] = []
        self.answered: set[int] = set()

    @property
    def cancelled_ids(self) -> list[str]:
        return [self.ids[index] for index in self.cancelled]

    @property
    def ids(self) -> list[str]:
        return [orjson.loads(line)["custom_id"] for line in self.chunk.lines]

    def answer(self, *indexes: int, status: int = 200, body: object = None) -> None:
        outcomes = Outcomes(f"{self.model.name}-replica", self.model.window_records)
        for index in indexes or range(len(self.chunk.lines)):
            content = {"of": self.ids[index]} if body is None else body
            outcomes.add(
                index, status, content if isinstance(content, bytes) else orjson.dumps(content)
            )
        self.stream(outcomes)

    def stream(self, outcomes: Outcomes) -> None:
        self.items.put_nowait(outcomes)
        self.answered.update(outcomes.indexes)
        if len(self.answered) == len(self.chunk.lines):
            self.end()

    def name_replica(self) -> None:
        """Say which replica has the call, as each one does at once."""
        self.items.put_nowait(Outcomes(f"{self.model.name}-replica", 0))

    def lose(self, error: BaseException) -> None:
        self.items.put_nowait(error)

    def end(self) -> None:
        self.items.put_nowait(None)


class HeldModel:
    def __init__(self, name: str) -> None:
        self.name = name
        self.window_records = 256
        self.names_itself = True
        self.takes_cancellations = True
        self.calls: list[HeldCall] = []

    @property
    def ids(self) -> list[str]:
        return [each for call in self.calls for each in call.ids]

    async def cancel(self, consumer: str, records: Mapping[int, Sequence[int]]) -> None:
        for call in self.calls:
            indexes = records.get(call.chunk.call, ())
            if call.chunk.consumer == consumer and indexes and not call.is_closed:
                call.cancelled += indexes
                if self.takes_cancellations:
                    self.answer_cancelled(call, indexes)

    def answer_cancelled(self, call: HeldCall, indexes: Sequence[int]) -> None:
        outcomes = Outcomes(f"{self.name}-replica", 0)
        for index in indexes:
            outcomes.add(index, STATUS_UNAVAILABLE, b"")
        call.stream(outcomes)

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        call = HeldCall(chunk, self)
        self.calls.append(call)
        if self.names_itself:
            call.name_replica()
        try:
            while (item := await call.items.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            call.is_closed = True


class World:
    """An engine, its models, and what came back by record."""

    def __init__(
        self,
        steps: dict[str, Any] | None = None,
        answer: str = "generate",
        on_death: Callable[[], None] | None = None,
        **values: object,
    ) -> None:
        pipeline = PipelineSettings.model_validate(
            {
                "kind": "pipeline",
                "urls": [CHAT],
                "steps": steps or GUARDED,
                "answer": answer,
                "outcome_linger_ms": 0,
                "step_linger_ms": 0,
                **values,
            }
        )
        self.clock = FakeClock()
        self.models = {step.model: HeldModel(step.model) for step in pipeline.steps.values()}
        self.engine = PipelineEngine(
            name="guarded",
            settings=pipeline,
            models=self.models,
            host=Host("pipeline-1", self.clock, on_death),
        )
        self.outcomes: dict[str, tuple[int, bytes]] = {}
        self.windows: list[int] = []

    async def run(
        self,
        *ids: str,
        deadlines_ms: list[int | None] | None = None,
        consumer: str = "consumer-1",
        lines: list[bytes] | None = None,
        wanted_records: int | None = None,
        call: int = 0,
    ) -> None:
        lines = lines or [line(each) for each in ids]
        chunk = Chunk(consumer, lines, deadlines_ms or [], wanted_records, call=call)
        async for outcomes in self.engine.infer(chunk):
            assert outcomes.replica == "pipeline-1"
            self.windows.append(outcomes.window_records)
            for index, status, body in zip(
                outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True
            ):
                assert ids[index] not in self.outcomes
                self.outcomes[ids[index]] = status, body

    async def start(self, *ids: str, **values: Any) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self.run(*ids, **values))
        await settle()
        return task

    def statuses(self) -> dict[str, int]:
        return {each: status for each, (status, _) in self.outcomes.items()}


def line(custom_id: str, prompt: object = "x") -> bytes:
    value = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": {"prompt": prompt}}
    return orjson.dumps(value)


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def finish(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(120):
        await task


async def test_a_chunk_goes_through_as_one_call_of_each_step() -> None:
    world = World()
    task = await world.start("a", "b", "c")
    (guard,) = world.models["classifier"].calls
    assert guard.ids == ["a", "b", "c"]
    assert guard.chunk.consumer == "pipeline-1"
    assert guard.chunk.deadlines_ms == []
    assert orjson.loads(guard.chunk.lines[0])["body"] == {"input": "x"}
    guard.answer(body={"label": "safe"})
    await settle()
    (generate,) = world.models["chat"].calls
    assert generate.chunk.lines == [line("a"), line("b"), line("c")]
    generate.answer(body=b"passed through { as it is")
    await finish(task)
    assert set(world.outcomes.values()) == {(200, b"passed through { as it is")}
    # At once, to a consumer that does not know it, and with the outcomes.
    assert world.windows == [256, 256]


async def test_a_refused_record_never_reaches_the_generator() -> None:
    world = World()
    task = await world.start("bad", "good", "worse")
    (guard,) = world.models["classifier"].calls
    guard.answer(0, 2, body={"label": "unsafe"})
    guard.answer(1, body={"label": "safe"})
    await settle()
    assert world.statuses() == {"bad": 400, "worse": 400}
    assert world.models["chat"].ids == ["good"]
    world.models["chat"].calls[0].answer()
    await finish(task)
    assert world.statuses() == {"bad": 400, "worse": 400, "good": 200}
    assert world.models["chat"].ids == ["good"]


async def test_a_slow_record_holds_nobody_up() -> None:
    world = World()
    task = await world.start("slow", "quick", "quicker")
    (guard,) = world.models["classifier"].calls
    guard.answer(2, body={"label": "safe"})
    await settle()
    guard.answer(1, body={"label": "safe"})
    await settle()
    first, second = world.models["chat"].calls
    second.answer()
    await settle()
    assert world.statuses() == {"quick": 200}
    first.answer()
    await settle()
    assert world.statuses() == {"quick": 200, "quicker": 200}
    guard.answer(0, body={"label": "safe"})
    await settle()
    world.models["chat"].calls[2].answer()
    await finish(task)
    assert world.statuses()["slow"] == 200


async def test_records_of_several_chunks_travel_together() -> None:
    world = World()
    tasks = [asyncio.ensure_future(world.run(each)) for each in ("a", "b", "c")]
    await settle()
    (guard,) = world.models["classifier"].calls
    assert sorted(guard.ids) == ["a", "b", "c"]
    guard.answer(status=422, body={"error": {"message": "no"}})
    for task in tasks:
        await finish(task)
    assert set(world.statuses().values()) == {422}
    assert orjson.loads(world.outcomes["a"][1])["error"]["message"] == "step 'guard': no"


async def test_of_a_call_in_common_one_record_is_cancelled_alone() -> None:
    world = World()
    tasks = [asyncio.ensure_future(world.run(each)) for each in ("a", "b", "c")]
    await settle()
    (guard,) = world.models["classifier"].calls
    guard.answer(body={"label": "safe"})
    await settle()
    (generations,) = world.models["chat"].calls
    tasks[1].cancel()
    await settle()
    assert generations.cancelled_ids == ["b"]
    assert not generations.is_closed
    generations.answer(0, 2)
    generations.end()
    await finish(tasks[0])
    await finish(tasks[2])
    assert world.statuses() == {"a": 200, "c": 200}


async def test_a_cancelled_record_of_a_chunk_frees_its_step_and_no_other() -> None:
    world = World()
    task = await world.start("a", "b", call=7)
    (guard,) = world.models["classifier"].calls
    world.engine.cancel("consumer-1", {7: [1], 8: [0]})
    world.engine.cancel("another", {7: [0]})
    await settle()
    assert guard.cancelled_ids == ["b"]
    assert world.statuses() == {"b": STATUS_UNAVAILABLE}
    guard.answer(0, body={"label": "unsafe"})
    guard.end()
    await finish(task)
    assert world.statuses() == {"a": 400, "b": STATUS_UNAVAILABLE}


async def test_a_record_that_waits_for_a_model_is_cancelled_in_the_queue() -> None:
    world = World(step_linger_ms=AN_HOUR_MS)
    task = await world.start("a", "b", call=7)
    world.engine.cancel("consumer-1", {7: [0, 1]})
    await finish(task)
    await settle()
    assert world.engine.waiting_requests == {"chat": 0, "classifier": 0}
    assert world.models["classifier"].calls == []
    await world.engine.stop()


async def test_a_replica_that_has_not_named_itself_is_told_when_it_has() -> None:
    world = World()
    world.models["classifier"].names_itself = False
    task = await world.start("a", "b", call=7)
    (guard,) = world.models["classifier"].calls
    world.engine.cancel("consumer-1", {7: [0]})
    await settle()
    assert guard.cancelled == []
    guard.name_replica()
    await settle()
    assert guard.cancelled_ids == ["a"]
    guard.answer(1, body={"label": "unsafe"})
    guard.end()
    await finish(task)


async def test_a_replica_that_does_not_let_go_has_its_call_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "AGAIN_AFTER_S", AGAIN_AFTER_S / 1e4)
    world = World()
    world.models["classifier"].takes_cancellations = False
    task = await world.start("a", call=7)
    (guard,) = world.models["classifier"].calls
    world.engine.cancel("consumer-1", {7: [0]})
    await finish(task)
    async with asyncio.timeout(120):
        while not guard.is_closed:
            await asyncio.sleep(0.001)
    await settle()
    assert guard.cancelled_ids == ["a"]
    assert world.engine._step_calls == {}


async def test_outcomes_that_another_call_carries_may_come_after_the_end_of_their_own() -> None:
    world = World()
    tasks = [await world.start(each) for each in ("a", "b")]
    first, second = world.models["classifier"].calls
    second.items.put_nowait(Outcomes("classifier-replica", 0, elsewhere=1))
    second.end()
    await settle()
    carried = Outcomes("classifier-replica", 0)
    carried.add(0, 200, b'{"label":"unsafe"}')
    first.items.put_nowait(
        Outcomes("classifier-replica", 0, others={second.chunk.call: carried, 99: carried})
    )
    await finish(tasks[1])
    assert world.statuses() == {"b": 400}
    first.answer(body={"label": "unsafe"})
    await finish(tasks[0])
    assert world.statuses() == {"a": 400, "b": 400}


async def test_independent_steps_run_at_the_same_time_and_both_must_be_done() -> None:
    steps = {"label": {"model": "classifier"}, "embed": {"model": "chat"}}
    world = World(steps, "embed")
    task = await world.start("a")
    world.models["chat"].calls[0].answer(body=b"vector")
    await settle()
    assert world.outcomes == {}
    world.models["classifier"].calls[0].answer()
    await finish(task)
    assert world.outcomes == {"a": (200, b"vector")}


async def test_a_refusal_cancels_what_ran_beside_it() -> None:
    steps = {**GUARDED, "generate": {"model": "chat"}}
    world = World(steps)
    task = await world.start("a")
    (beside,) = world.models["chat"].calls
    world.models["classifier"].calls[0].answer(body={"label": "unsafe"})
    await finish(task)
    await settle()
    assert world.statuses() == {"a": 400}
    assert beside.is_closed


async def test_deadlines_travel_along_and_pass_in_the_queue() -> None:
    world = World()
    now_ms = world.clock.epoch_ms()
    deadlines = [now_ms, now_ms + AN_HOUR_MS, None]
    task = await world.start("late", "later", "never", deadlines_ms=deadlines)
    assert world.statuses() == {"late": STATUS_EXPIRED}
    (guard,) = world.models["classifier"].calls
    assert guard.chunk.deadlines_ms == [now_ms + AN_HOUR_MS, None]
    world.clock.now_ms += AN_HOUR_MS
    guard.answer(body={"label": "safe"})
    await settle()
    assert world.statuses() == {"late": STATUS_EXPIRED, "later": STATUS_EXPIRED}
    (generate,) = world.models["chat"].calls
    assert generate.ids == ["never"]
    assert generate.chunk.deadlines_ms == []
    generate.answer(status=STATUS_EXPIRED, body=b"")
    await finish(task)
    assert set(world.statuses().values()) == {STATUS_EXPIRED}


async def test_a_deadline_passes_in_a_call_that_nobody_has_taken() -> None:
    world = World()
    task = await world.start("a", "b", deadlines_ms=[world.clock.epoch_ms() + 50, None])
    (guard,) = world.models["classifier"].calls
    async with asyncio.timeout(120):
        while "a" not in world.outcomes:
            await asyncio.sleep(0.001)
    assert world.outcomes == {"a": (STATUS_EXPIRED, b"")}
    assert not guard.is_closed
    guard.answer(body={"label": "unsafe"})
    await finish(task)
    assert world.statuses() == {"a": STATUS_EXPIRED, "b": 400}


async def test_a_deadline_that_passes_closes_the_call_that_nobody_else_is_in() -> None:
    world = World()
    task = await world.start("a", deadlines_ms=[world.clock.epoch_ms() + 50])
    (guard,) = world.models["classifier"].calls
    await finish(task)
    await settle()
    assert world.outcomes == {"a": (STATUS_EXPIRED, b"")}
    assert guard.is_closed
    assert world.engine._step_calls == {}


async def test_a_deadline_passes_in_the_queue_of_a_model_without_room() -> None:
    world = World(step_linger_ms=AN_HOUR_MS)
    task = await world.start("a", deadlines_ms=[world.clock.epoch_ms() + 50])
    await finish(task)
    assert world.outcomes == {"a": (STATUS_EXPIRED, b"")}
    assert world.models["classifier"].calls == []
    await world.engine.stop()


def timers_of(world: World) -> list[asyncio.TimerHandle | None]:
    return [each.timer for records in world.engine._records.values() for each in records.values()]


async def test_whoever_is_done_waits_for_no_deadline() -> None:
    world = World()
    deadline_ms = world.clock.epoch_ms() + AN_HOUR_MS
    answered = await world.start("a", deadlines_ms=[deadline_ms])
    timers = timers_of(world)
    world.models["classifier"].calls[0].answer(body={"label": "unsafe"})
    await finish(answered)
    closed = await world.start("b", deadlines_ms=[deadline_ms])
    timers += timers_of(world)
    closed.cancel()
    await settle()
    assert [timer is not None and timer.cancelled() for timer in timers] == [True, True]


async def test_a_lost_call_fails_only_what_it_has_not_answered() -> None:
    world = World()
    task = await world.start("a", "b", "c")
    (guard,) = world.models["classifier"].calls
    guard.answer(1, body={"label": "safe"})
    await settle()
    guard.lose(RuntimeError("the actor died"))
    await settle()
    assert world.statuses() == {"a": STATUS_LOST, "c": STATUS_LOST}
    assert b"the actor died" in world.outcomes["a"][1]
    world.models["chat"].calls[0].answer()
    await finish(task)
    assert world.statuses()["b"] == 200


async def test_a_lost_call_costs_the_records_of_other_calls_nothing() -> None:
    world = World()
    task = await world.start("a", "b", "c")
    (guard,) = world.models["classifier"].calls
    guard.answer(0, body={"label": "unsafe"})
    guard.answer(1, body={"label": "safe"})
    await settle()
    (generate,) = world.models["chat"].calls
    generate.lose(RuntimeError("the actor died"))
    await settle()
    assert world.statuses() == {"a": 400, "b": STATUS_LOST}
    assert b"step model 'chat' was lost: RuntimeError: the actor died" in world.outcomes["b"][1]
    guard.answer(2, body={"label": "unsafe"})
    guard.end()
    await finish(task)
    assert world.statuses() == {"a": 400, "b": STATUS_LOST, "c": 400}
    assert world.engine._step_calls == {}
    assert all(line.queue.in_flight == 0 for line in world.engine._lines.values())


async def test_a_call_lost_without_an_answer_costs_other_chunks_nothing() -> None:
    world = World()
    lost = await world.start("a")
    other = await world.start("b")
    first, second = world.models["classifier"].calls
    first.lose(RuntimeError("the actor died"))
    await finish(lost)
    second.answer(body={"label": "unsafe"})
    await finish(other)
    assert world.statuses() == {"a": STATUS_LOST, "b": 400}


async def test_a_call_that_ends_early_fails_what_it_has_not_answered() -> None:
    world = World()
    task = await world.start("a", "b")
    (guard,) = world.models["classifier"].calls
    guard.answer(0, body={"label": "unsafe"})
    guard.end()
    await finish(task)
    assert world.statuses() == {"a": 400, "b": STATUS_LOST}


async def test_a_call_that_the_models_replica_cancels_is_lost() -> None:
    # Ray says so where a replica's own task is cancelled, though nobody here cancelled the call.
    world = World()
    task = await world.start("a", "b")
    (guard,) = world.models["classifier"].calls
    guard.answer(0, body={"label": "unsafe"})
    guard.lose(asyncio.CancelledError())
    await finish(task)
    assert world.statuses() == {"a": 400, "b": STATUS_LOST}
    assert world.engine._lines["classifier"].queue.in_flight == 0


async def test_a_failed_outcome_is_the_records() -> None:
    world = World()
    task = await world.start("a", "b")
    (guard,) = world.models["classifier"].calls
    guard.answer(0, status=503, body=b"{}")
    guard.answer(1, status=STATUS_FAILED, body=b"{}")
    await finish(task)
    assert world.outcomes == {"a": (503, b"{}"), "b": (STATUS_FAILED, b"{}")}


async def test_outcomes_that_break_the_contract_cost_their_call_only() -> None:
    world = World()
    task = await world.start("a")
    (guard,) = world.models["classifier"].calls
    guard.items.put_nowait(Outcomes("r", 1, [0], [200], []))
    await finish(task)
    assert world.statuses() == {"a": STATUS_LOST}
    world.engine.check_health()
    task = await world.start("b")
    world.models["classifier"].calls[1].answer(body={"label": "unsafe"})
    await finish(task)
    assert world.statuses()["b"] == 400


async def test_a_record_that_cannot_be_rendered_costs_its_neighbours_nothing() -> None:
    world = World()
    lines = [line("a", prompt=[1, 2]), b"no json at all", line("c")]
    task = await world.start("a", "b", "c", lines=lines)
    assert world.statuses() == {"a": 400, "b": 400}
    world.models["classifier"].calls[0].answer(body=b"no json")
    await finish(task)
    assert world.statuses() == {"a": 400, "b": 400, "c": STATUS_FAILED}


async def test_a_bug_in_one_records_way_costs_its_neighbours_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    start = world.engine._graph.start

    def start_or_fail(value: bytes) -> RecordRun | Ending:
        if b'"b"' in value:
            raise RecursionError("maximum recursion depth exceeded")
        return start(value)

    monkeypatch.setattr(world.engine._graph, "start", start_or_fail)
    task = await world.start("a", "b")
    assert world.statuses() == {"b": STATUS_FAILED}
    world.models["classifier"].calls[0].answer(body={"label": "unsafe"})
    await finish(task)
    assert world.statuses() == {"a": 400, "b": STATUS_FAILED}


async def test_closing_the_stream_closes_the_calls_to_the_models() -> None:
    world = World()
    task = await world.start("a", "b")
    (guard,) = world.models["classifier"].calls
    task.cancel()
    await settle()
    assert guard.is_closed
    assert world.engine.waiting_requests == {"chat": 0, "classifier": 0}
    assert world.engine._step_calls == {}


async def test_a_call_that_is_closed_before_it_began_gives_its_room_back() -> None:
    world = World(step_linger_ms=AN_HOUR_MS)
    task = await world.start("a")
    task.cancel()
    world.engine._flush(world.engine._lines["classifier"])
    assert len(world.engine._step_calls) == 1
    await settle()
    assert world.models["classifier"].calls == []
    assert world.engine._step_calls == {}
    assert world.engine._lines["classifier"].queue.in_flight == 0


async def test_closing_one_stream_leaves_its_neighbours_in_a_shared_call() -> None:
    world = World()
    first = asyncio.ensure_future(world.run("a"))
    second = asyncio.ensure_future(world.run("b"))
    await settle()
    (guard,) = world.models["classifier"].calls
    first.cancel()
    await settle()
    assert not guard.is_closed
    guard.answer(body={"label": "safe"})
    await settle()
    assert world.models["chat"].ids == ["b"]
    world.models["chat"].calls[0].answer()
    await finish(second)
    assert world.statuses() == {"b": 200}


async def test_no_more_in_flight_than_the_models_replicas_ask_for() -> None:
    world = World()
    world.models["chat"].window_records = 2
    first = await world.start("warm")
    world.models["classifier"].calls[0].answer(body={"label": "safe"})
    await settle()
    world.models["chat"].calls[0].answer()
    await finish(first)
    task = await world.start("a", "b", "c", "d", "e")
    world.models["classifier"].calls[1].answer(body={"label": "safe"})
    await settle()
    assert world.models["chat"].ids == ["warm", "a", "b"]
    assert world.engine.waiting_requests["chat"] == 3
    for number, each in enumerate("cde"):
        world.models["chat"].calls[1 + number].answer()
        await settle()
        assert world.models["chat"].ids == ["warm", "a", "b", *"cde"[: number + 1]], each
    for call in world.models["chat"].calls[4:]:
        call.answer()
    await finish(task)
    assert set(world.statuses().values()) == {200}


async def test_the_window_is_divided_by_the_consumers() -> None:
    world = World(window_records=10)
    for consumer in ("one", "two", "three"):
        task = await world.start(consumer, consumer=consumer)
        world.models["classifier"].calls[-1].answer(body={"label": "unsafe"})
        await finish(task)
    assert world.windows == [10, 10, 5, 5, 4, 4]


async def test_a_consumer_counts_as_long_as_it_has_a_call_open() -> None:
    world = World(window_records=10)
    slow = await world.start("slow", consumer="one")
    world.clock.now_s += 2 * CALLER_FORGOTTEN_AFTER_S
    quick = await world.start("quick", consumer="two")
    world.models["classifier"].calls[1].answer(body={"label": "unsafe"})
    await finish(quick)
    assert world.windows == [10, 5, 5]
    world.models["classifier"].calls[0].answer(body={"label": "unsafe"})
    await finish(slow)


async def test_a_consumer_whose_neighbour_is_done_is_told_of_its_room_at_once() -> None:
    world = World(window_records=10)
    slow = await world.start("slow", consumer="one")
    quick = await world.start(*"abcdefgh", consumer="two", wanted_records=8)
    third = await world.start("third", consumer="one")
    slow_call, quick_call, third_call = world.models["classifier"].calls
    third_call.answer(body={"label": "unsafe"})
    await finish(third)
    assert world.windows == [10, 5, 5]
    quick_call.answer(body={"label": "unsafe"})
    await finish(quick)
    await settle()
    assert world.windows == [10, 5, 5, 5, 10]
    assert set(world.outcomes) == {"third", *"abcdefgh"}
    slow_call.answer(body={"label": "unsafe"})
    await finish(slow)


async def test_steps_are_asked_with_all_that_the_pipeline_wants_of_a_model() -> None:
    world = World()
    records = [f"r{number}" for number in range(80)]
    task = await world.start(*records)
    asked = world.models["classifier"].calls
    assert [(len(call.ids), call.chunk.wanted_records) for call in asked] == [
        (32, 80),
        (32, 80),
        (16, 80),
    ]
    for call in asked:
        call.answer(body={"label": "unsafe"})
    await finish(task)


async def test_two_steps_of_one_model_share_its_window_and_calls() -> None:
    steps = {
        "one": {"model": "chat", "body": {"n": 1}},
        "two": {"model": "chat", "body": {"n": 2}},
        "three": {"model": "chat", "body": {"n": 3, "of": "$one.of"}, "after": ["two"]},
    }
    world = World(steps, "three")
    task = await world.start("a")
    (call,) = world.models["chat"].calls
    assert [orjson.loads(each)["body"]["n"] for each in call.chunk.lines] == [1, 2]
    call.answer()
    await settle()
    last = world.models["chat"].calls[1]
    assert orjson.loads(last.chunk.lines[0])["body"] == {"n": 3, "of": "a"}
    last.answer(body=b"{}")
    await finish(task)
    assert world.outcomes == {"a": (200, b"{}")}


async def test_a_refusal_cancels_the_records_other_step_in_the_same_call() -> None:
    steps = {
        "guard": {
            "model": "chat",
            "refuse": [{"when": {"value": "$guard.label", "equals": "unsafe"}}],
        },
        "generate": {"model": "chat"},
    }
    world = World(steps)
    task = await world.start("a")
    (call,) = world.models["chat"].calls
    call.answer(0, body={"label": "unsafe"})
    await finish(task)
    await settle()
    assert world.statuses() == {"a": 400}
    assert call.cancelled == [1]
    assert call.is_closed


async def test_a_model_that_is_down_does_not_use_up_the_attempts_of_all() -> None:
    world = World()
    guard = world.models["classifier"]
    for number in range(FAILURES_TO_OPEN):
        task = await world.start(f"lost{number}")
        guard.calls[-1].lose(RuntimeError("down"))
        await finish(task)
    waiting = await world.start("a", "b")
    assert len(guard.calls) == FAILURES_TO_OPEN
    assert world.engine.waiting_requests["classifier"] == 2
    world.clock.now_s += FIRST_PAUSE_S
    another = await world.start("c")
    assert len(guard.calls) == FAILURES_TO_OPEN + 1
    guard.calls[-1].answer(body={"label": "unsafe"})
    await settle()
    guard.calls[-1].answer(body={"label": "unsafe"})
    await finish(waiting)
    await finish(another)
    assert {world.statuses()[each] for each in "abc"} == {400}


async def test_a_stop_ends_the_calls_that_wait_after_what_is_finished() -> None:
    world = World(outcome_linger_ms=AN_HOUR_MS)
    task = await world.start("a", "b")
    another = await world.start("c")
    guard, other_guard = world.models["classifier"].calls
    guard.answer(1, body={"label": "unsafe"})
    await settle()
    world.engine.check_health()
    await world.engine.stop()
    for call in (task, another):
        with pytest.raises(ReplicaLostError, match="the replica was stopped"):
            await finish(call)
    assert world.statuses() == {"b": 400}
    assert guard.is_closed
    assert other_guard.is_closed
    with pytest.raises(ReplicaLostError):
        world.engine.check_health()
    with pytest.raises(ReplicaLostError):
        await world.run("b")


async def test_a_pipeline_that_dies_keeps_its_calls_until_its_process_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deaths: list[str] = []
    world = World(on_death=lambda: deaths.append("dead"))
    waiting = await world.start("a")

    def broken(now_s: float) -> Never:
        raise AssertionError("a bug in the queue")

    monkeypatch.setattr(world.engine._lines["classifier"].queue, "take", broken)
    calls = [waiting, await world.start("b"), await world.start("late")]
    await settle()
    assert deaths == ["dead"]
    assert not any(call.done() for call in calls)
    with pytest.raises(ReplicaLostError, match="a bug in the queue"):
        world.engine.check_health()
    await world.engine.stop()
    for call in calls:
        with pytest.raises(ReplicaLostError, match="a bug in the queue"):
            await finish(call)


async def test_an_empty_chunk_is_over_at_once() -> None:
    world = World()
    async with asyncio.timeout(120):
        await world.run()
    assert world.models["classifier"].calls == []


async def test_requests_gather_until_a_call_is_full() -> None:
    world = World(step_linger_ms=AN_HOUR_MS)
    task = await world.start("a", "b")
    assert world.models["classifier"].calls == []
    rest = [f"r{number}" for number in range(30)]
    full = await world.start(*rest)
    (guard,) = world.models["classifier"].calls
    assert guard.ids == ["a", "b", *rest]
    guard.answer(body={"label": "unsafe"})
    await finish(task)
    await finish(full)


@given(data=st.data())
@settings(max_examples=60)
def test_each_record_gets_one_outcome_whatever_the_models_do(data: st.DataObject) -> None:
    """Answers in any order and portion, refusals, failures, lost calls, streams closed early."""
    asyncio.run(run_at_random(data))


async def run_at_random(data: st.DataObject) -> None:
    steps = {
        "guard": {
            "model": "classifier",
            "refuse": [{"when": {"value": "$guard.label", "equals": "unsafe"}}],
        },
        "beside": {"model": "chat"},
        "after": {"model": "chat", "body": {"label": "$guard.label"}, "after": ["beside"]},
    }
    world = World(steps, "after")
    for model in world.models.values():
        model.window_records = data.draw(st.integers(1, 6))
    chunks = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    ids = [[f"{number}-{each}" for each in range(size)] for number, size in enumerate(chunks)]
    tasks = [asyncio.ensure_future(world.run(*each)) for each in ids]
    await settle()
    closed = data.draw(st.none() | st.integers(0, len(tasks) - 1))
    for turn in range(300):
        held = [
            call for model in world.models.values() for call in model.calls if not call.is_closed
        ]
        if not held:
            if all(task.done() for task in tasks):
                break
            # All calls to some model were lost: it is tried again after a while.
            world.clock.now_s += 10
            for line in world.engine._lines.values():
                world.engine._flush(line)
            await settle()
        elif turn >= 200:  # drawn are some that answer the same record for ever
            held[0].answer(body={"label": "safe"})
            await settle()
        else:
            do_at_random(data, data.draw(st.sampled_from(held)))
            await settle()
            if closed is not None and data.draw(st.booleans()):
                tasks[closed].cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
    for names, task in zip(ids, tasks, strict=True):
        if not task.cancelled():
            task.result()
            assert set(names) <= set(world.outcomes)
    assert set(world.statuses().values()) <= {200, 400, STATUS_FAILED, STATUS_LOST}
    await settle()
    assert world.engine._step_calls == {}
    assert all(line.queue.in_flight == 0 for line in world.engine._lines.values())
    assert set(world.engine.waiting_requests.values()) <= {0}
    world.engine.check_health()
    await world.engine.stop()


def do_at_random(data: st.DataObject, call: HeldCall) -> None:
    match data.draw(st.sampled_from(["safe", "safe", "safe", "unsafe", "fail", "lose", "end"])):
        case "lose":
            call.lose(RuntimeError("lost"))
        case "end":
            call.end()
        case "fail":
            call.answer(status=STATUS_FAILED, body=b"{}")
        case label:
            size = len(call.chunk.lines)
            call.answer(*range(data.draw(st.integers(1, size))), body={"label": label})


async def test_a_steps_sign_of_work_reaches_the_callers_that_wait_for_its_model() -> None:
    world = World(steps={"generate": {"model": "chat"}})
    model = world.models["chat"]
    model.window_records = 1
    signs = Counter[str]()

    async def listen(custom_id: str) -> None:
        async for outcomes in world.engine.infer(Chunk("consumer-1", [line(custom_id)])):
            signs[custom_id] += outcomes.is_working

    first = asyncio.create_task(listen("first"))
    await settle()
    assert len(model.calls) == 1
    model.calls[0].items.put_nowait(Outcomes("chat-replica", 1))
    await settle()
    second = asyncio.create_task(listen("second"))
    await settle()
    assert world.engine.waiting_requests["chat"] == 1
    signs.clear()

    model.calls[0].items.put_nowait(Outcomes("chat-replica", 1, is_working=True))
    await settle()
    assert signs == {"first": 1, "second": 1}

    # Another sign soon after concerns the record that the model works on; what waits had one.
    model.calls[0].items.put_nowait(Outcomes("chat-replica", 1, is_working=True))
    await settle()
    assert signs == {"first": 2, "second": 1}
    model.calls[0].answer()
    await settle()
    assert len(model.calls) == 2
    model.calls[1].answer()
    await asyncio.gather(first, second)
    await world.engine.stop()


async def test_steps_are_timed_and_what_waits_for_a_model_is_counted() -> None:
    world = World()
    world.models["classifier"].window_records = 2
    task = await world.start("a", "b", "c")
    (guard,) = world.models["classifier"].calls
    world.clock.now_s = 3.0
    guard.answer(0, 1, body={"label": "safe"})
    await settle()
    world.clock.now_s = 4.0
    guard.answer(2, body={"label": "unsafe"})
    for call in world.models["chat"].calls:
        call.answer()
    await finish(task)

    found = world.engine.readings()
    guarded = found.histograms["pipeline_step_seconds", "guard"]
    assert (guarded.count, guarded.total) == (3, 3.0 + 3.0 + 4.0)
    assert found.histograms["pipeline_step_seconds", "generate"].total == 1.0 + 1.0
    assert found.gauges["pipeline_waiting_requests", "chat"] == 0
    assert found.counters["model_records", "answered"] == 2
    assert found.counters["model_records", "refused"] == 1
