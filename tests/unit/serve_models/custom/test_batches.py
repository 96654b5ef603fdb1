"""A user's batched model behind the batch engine. No sleep decides a result: events do."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import orjson
import pytest

from handoff.chunk import (
    STATUS_EXPIRED,
    STATUS_FAILED,
    STATUS_OK,
    STATUS_UNRECOVERABLE,
    Chunk,
)
from headrace.sdk import BatchedModel, BodyRefusedError
from serve_models.batching.engine import BatchEngine
from serve_models.chunks.chunk_server import ReplicaLostError
from serve_models.custom.batches import serve_batches
from tests.unit.serve_models.fakes import FakeClock, FakePanicError, host

Answers = list[tuple[int, Any]]


class NoTextError(RuntimeError):
    def __str__(self) -> str:
        raise AttributeError("code")


class Double(BatchedModel):
    """Doubles ``n``; waits while the test holds it, and fails as a body says."""

    max_batch_records = 4

    def load(self, *, factor: int = 2) -> None:
        self.factor = factor
        self.batches: list[list[Any]] = []
        self.is_broken = False
        self.is_unwell = False
        self.running = threading.Event()
        self.release = threading.Event()
        self.release.set()

    def predict(self, bodies: list[Any]) -> Sequence[Any]:
        self.running.set()
        assert self.release.wait(20)
        self.batches.append([body["n"] for body in bodies])
        if self.is_broken:
            raise RuntimeError("the device is gone")
        for body in bodies:
            if body["n"] == "raise":
                raise RuntimeError("bad record")
            if body["n"] == "panic":
                raise FakePanicError("unwrap on None")
            if body["n"] == "no text":
                raise NoTextError
            if body["n"] == "cancel":
                raise asyncio.CancelledError("something within")
            if body["n"] == "refuse":
                raise BodyRefusedError("n: no such number", param="n")
        return [self.answer(body["n"]) for body in bodies]

    def answer(self, n: Any) -> Any:
        match n:
            case "bytes":
                return b'{"as":"it is"}'
            case "array":
                return {"row": np.array([1.5, 2.5], dtype=np.float32)}
            case "refusal":
                return BodyRefusedError("n: out of range", param="n", status=422)
            case "text":
                return "no object"
            case "object":
                return {"no": object()}
        return {"n": self.factor * n}

    def size(self, body: Any) -> int:
        if not isinstance(body, dict) or "n" not in body:
            raise BodyRefusedError("n: field required", param="n")
        if body["n"] == "cancel size":
            raise asyncio.CancelledError("something within")
        size: int = body.get("size", 1)
        return size

    def check_health(self) -> None:
        if self.is_unwell:
            raise RuntimeError("unwell")


class Probed(Double):
    def probe(self) -> Any:
        return {"n": 0}


@asynccontextmanager
async def running(
    model: Double, clock: FakeClock | None = None, on_death: Callable[[], None] | None = None
) -> AsyncIterator[BatchEngine]:
    model.outcome_linger_ms = 0.0
    engine = serve_batches(model, host(clock, on_death))
    engine.start()
    try:
        yield engine
    finally:
        model.release.set()
        await engine.stop()


def lines_of(*bodies: object) -> list[bytes]:
    return [orjson.dumps({"custom_id": "c", "url": "/v1/x", "body": body}) for body in bodies]


async def answers_of(
    engine: BatchEngine, *bodies: object, deadlines_ms: Sequence[int | None] = ()
) -> Answers:
    chunk = Chunk("consumer-1", lines_of(*bodies), list(deadlines_ms))
    collected: dict[int, tuple[int, Any]] = {}
    async with asyncio.timeout(120):
        async for outcomes in engine.infer(chunk):
            assert outcomes.replica == "replica-1"
            for index, status, body in zip(
                outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True
            ):
                assert index not in collected
                collected[index] = (status, orjson.loads(body) if body else None)
    return [collected[index] for index in range(len(bodies))]


async def wait_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.001)


async def test_records_of_many_calls_share_batches() -> None:
    model = Double(factor=3)
    model.release.clear()
    async with running(model) as engine:
        first = asyncio.create_task(answers_of(engine, {"n": 1}))
        await asyncio.to_thread(model.running.wait, 20)
        # One stands ready behind the first; the rest gathers.
        calls = [asyncio.create_task(answers_of(engine, {"n": n})) for n in range(2, 11)]
        await wait_until(lambda: engine.waiting_texts == 8)
        model.release.set()
        assert await first == [(STATUS_OK, {"n": 3})]
        assert await asyncio.gather(*calls) == [[(STATUS_OK, {"n": 3 * n})] for n in range(2, 11)]
    assert sorted(map(len, model.batches)) == [1, 1, 4, 4]


async def test_answers_come_in_several_forms() -> None:
    async with running(Double()) as engine:
        answers = await answers_of(engine, {"n": 1}, {"n": "bytes"}, {"n": "array"})
    assert answers == [
        (STATUS_OK, {"n": 2}),
        (STATUS_OK, {"as": "it is"}),
        (STATUS_OK, {"row": [1.5, 2.5]}),
    ]


async def test_a_record_at_fault_costs_itself_only() -> None:
    bodies: list[Any] = [{"n": n} for n in range(12)]
    bodies[1], bodies[3], bodies[5] = {"n": "raise"}, {"n": "refuse"}, {"n": "refusal"}
    bodies[7], bodies[8], bodies[10], bodies[11] = (
        {"n": "text"},
        [],
        {"n": "object"},
        {"n": "panic"},
    )
    async with running(Double()) as engine:
        answers = await answers_of(engine, *bodies)
        engine.check_health()
    assert [status for status, _ in answers] == [
        *(200, STATUS_FAILED, 200, 400, 200, 422),
        *(200, STATUS_UNRECOVERABLE, 400, 200, STATUS_UNRECOVERABLE, STATUS_UNRECOVERABLE),
    ]
    messages = {
        at: body["error"]["message"] for at, (status, body) in enumerate(answers) if status > 200
    }
    assert "bad record" in messages[1]
    assert messages[3] == "n: no such number"
    assert messages[5] == "n: out of range"
    assert "predict must return a dict" in messages[7]
    assert messages[8] == "n: field required"
    assert answers[3][1]["error"]["param"] == "n"


async def test_what_is_cancelled_in_the_model_ends_nothing_else() -> None:
    bodies = [{"n": 1}, {"n": "cancel"}, {"n": "cancel size"}]
    async with running(Double()) as engine:
        for _ in range(3):
            answers = await answers_of(engine, *bodies)
            assert [status for status, _ in answers] == [STATUS_OK, STATUS_FAILED, STATUS_FAILED]


async def test_an_error_without_a_text_costs_its_record_only() -> None:
    async with running(Double()) as engine:
        (_, first), (status, body) = await answers_of(engine, {"n": 1}, {"n": "no text"})
    assert first == {"n": 2}
    assert status == STATUS_FAILED
    assert body["error"]["message"] == "the model failed on this request: NoTextError"


@pytest.mark.parametrize("size", [2**63, 1e300, 2.5])
async def test_any_size_is_a_size(size: float) -> None:
    class Huge(Double):
        def size(self, body: Any) -> int:
            return size if body["n"] == 1 else 1  # type: ignore[return-value] # a user's slip

    async with running(Huge()) as engine:
        answers = await answers_of(engine, {"n": 0}, {"n": 1}, {"n": 2})
    assert answers == [(STATUS_OK, {"n": 2 * n}) for n in range(3)]


async def test_a_model_that_forgets_an_answer_says_so() -> None:
    model = Double()
    model.predict = lambda bodies: []  # type: ignore[method-assign]
    async with running(model) as engine:
        ((status, body),) = await answers_of(engine, {"n": 1})
    assert status == STATUS_UNRECOVERABLE
    assert "predict returned 0 answers for 1 bodies" in body["error"]["message"]


async def test_batches_are_of_like_sizes_within_the_limit() -> None:
    model = Double()
    model.max_batch_size = 20
    model.release.clear()
    async with running(model) as engine:
        first = asyncio.create_task(answers_of(engine, {"n": -1}, {"n": -2}))
        await asyncio.to_thread(model.running.wait, 20)
        bodies = [{"n": n, "size": 10 if n % 2 else 1} for n in range(8)]
        call = asyncio.create_task(answers_of(engine, *bodies))
        # Two large ones stand ready.
        await wait_until(lambda: engine.waiting_texts == 6)
        model.release.set()
        await first
        await call
    large = [batch for batch in model.batches if any(n > 0 and n % 2 for n in batch)]
    assert all(len(batch) <= 2 and all(n % 2 for n in batch) for batch in large)


async def test_records_of_large_sizes_share_batches_too() -> None:
    model = Double()
    model.release.clear()
    body = {"n": 1, "size": 5_000_000}
    async with running(model) as engine:
        calls = [asyncio.create_task(answers_of(engine, body)) for _ in range(12)]
        # One batch runs, one stands ready.
        await wait_until(lambda: model.running.is_set() and engine.waiting_texts == 10)
        model.release.set()
        await asyncio.gather(*calls)
    assert max(map(len, model.batches)) == model.max_batch_records


async def test_batches_fit_into_the_memory_that_there_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Small(Double):
        max_batch_records = 16

        def predict(self, bodies: list[Any]) -> Sequence[Any]:
            self.batches.append(bodies)
            if len(bodies) > 4:
                raise MemoryError
            return [{} for _ in bodies]

    model = Small()
    async with running(model) as engine:
        await answers_of(engine, *[{"n": n} for n in range(96)])
    # Those of the two batches that stood ready.
    assert sum(len(batch) > 4 for batch in model.batches) <= 6
    assert "of max_batch_records: 16 for now; lower max_batch_records" in caplog.text


async def test_an_expired_record_is_not_computed() -> None:
    model, clock = Double(), FakeClock()
    model.release.clear()
    async with running(model, clock) as engine:
        busy = asyncio.create_task(answers_of(engine, {"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}))
        await asyncio.to_thread(model.running.wait, 20)
        ready = asyncio.create_task(answers_of(engine, {"n": 5}))
        await wait_until(lambda: engine.waiting_texts == 0)
        late = asyncio.create_task(
            answers_of(engine, {"n": 6}, {"n": 7}, deadlines_ms=[clock.now_ms + 1000, None])
        )
        await wait_until(lambda: engine.waiting_texts == 2)
        clock.now_ms += 1001
        model.release.set()
        assert await late == [(STATUS_EXPIRED, None), (STATUS_OK, {"n": 14})]
        await busy
        await ready
    assert 6 not in [n for batch in model.batches for n in batch]


@pytest.mark.parametrize("model_class", [Double, Probed])
async def test_a_model_that_fails_on_everything_leaves(model_class: type[Double]) -> None:
    deaths: list[str] = []
    model = model_class()
    async with running(model, on_death=lambda: deaths.append("dead")) as engine:
        assert await answers_of(engine, {"n": 1}) == [(STATUS_OK, {"n": 2})]
        model.is_broken = True
        # Without a probe, the model's own word is all there is.
        model.is_unwell = model_class is Double
        call = asyncio.create_task(answers_of(engine, {"n": 1}))
        await wait_until(lambda: deaths)
        with pytest.raises(ReplicaLostError, match="harmless"):
            engine.check_health()
        assert not call.done()
        await engine.stop()
        with pytest.raises(ReplicaLostError):
            await call


async def test_a_batch_that_hangs_is_lost_and_what_waits_goes_elsewhere() -> None:
    model, clock = Double(), FakeClock()
    async with running(model, clock, on_death=lambda: None) as engine:
        await answers_of(engine, {"n": 1})
        model.running.clear()
        model.release.clear()
        call = asyncio.create_task(answers_of(engine, {"n": 2}))
        await asyncio.to_thread(model.running.wait, 20)
        clock.now_s += 600.0
        engine.check_health()
        clock.now_s += 1.0
        with pytest.raises(ReplicaLostError, match="a batch has been running for 601 s"):
            engine.check_health()
        model.release.set()
        await engine.stop()
        with pytest.raises(ReplicaLostError):
            await call


async def test_a_stop_ends_the_calls_that_wait() -> None:
    model = Double()
    model.release.clear()
    async with running(model) as engine:
        call = asyncio.create_task(answers_of(engine, *({"n": n} for n in range(20))))
        await asyncio.to_thread(model.running.wait, 20)
        await engine.stop()
        with pytest.raises(ReplicaLostError, match="stopped"):
            await call
