"""Cancelled records of a text model: what waits is not computed, and neighbours lose nothing."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from handoff.chunk import STATUS_OK, STATUS_UNAVAILABLE, Chunk
from serve_models.batching.engine import BatchEngine
from tests.unit.serve_models.fakes import FakeModel, line
from tests.unit.serve_models.text_engines import running

_answers: defaultdict[int, dict[int, int]] = defaultdict(dict)
"""Statuses by the number of the call: its own stream brings them, or that of another call."""


async def read(engine: BatchEngine, number: int, *texts: str) -> dict[int, int]:
    chunk = Chunk("consumer-1", [line(each) for each in texts], call=number)
    statuses = _answers[number] = {}
    async with asyncio.timeout(120):
        async for outcomes in engine.infer(chunk):
            for of, each in ((number, outcomes), *outcomes.others.items()):
                _answers[of].update(zip(each.indexes, each.statuses, strict=True))
    return statuses


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_cancelled_text_that_waits_is_not_computed() -> None:
    model = FakeModel()
    model.release.clear()
    async with running("embedder", model, token_budget_tokens=16, max_batch_texts=1) as engine:
        first = asyncio.create_task(read(engine, 1, "running"))
        await asyncio.to_thread(model.running.wait, 20)
        # The next batch is formed meanwhile.
        next_one = asyncio.create_task(read(engine, 2, "next"))
        await until(lambda: model.tokenized_texts == 2 and not engine.waiting_texts)
        waiting = asyncio.create_task(read(engine, 3, "wanted", "unwanted", "wanted too"))
        await until(lambda: engine.waiting_texts == 3)
        engine.cancel("consumer-1", {3: [1], 9: [0]})
        model.release.set()
        assert await first == await next_one == {0: STATUS_OK}
        assert await waiting == {0: STATUS_OK, 1: STATUS_UNAVAILABLE, 2: STATUS_OK}
    computed = [text for batch in model.batches for text in batch]
    assert sorted(computed) == ["next", "running", "wanted", "wanted too"]


async def test_the_answer_of_a_cancelled_text_that_runs_is_dropped() -> None:
    model = FakeModel()
    model.release.clear()
    async with running("embedder", model) as engine:
        call = asyncio.create_task(read(engine, 1, "running"))
        await asyncio.to_thread(model.running.wait, 20)
        engine.cancel("consumer-1", {1: [0]})
        assert await call == {0: STATUS_UNAVAILABLE}
        model.release.set()
        assert await read(engine, 2, "healthy") == {0: STATUS_OK}
