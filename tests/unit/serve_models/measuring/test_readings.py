"""What the metrics of a running replica read."""

import asyncio
from contextlib import aclosing
from typing import Any

from handoff.chunk import STATUS_OK, Chunk
from schemas.metrics import BATCHES, CALLS, GENERATORS
from serve_models.batching.engine import BatchEngine
from serve_models.generation.engine import Answer, GenerationEngine
from tests.unit.serve_models.fakes import FakeModel, host, line
from tests.unit.serve_models.text_engines import answers_of, running


def count(engine: BatchEngine, name: str, label: str | None = None) -> float:
    return engine.readings().counters[name if label is None else (name, label)]


async def test_a_batching_replica_reads_each_metric_of_its_kind() -> None:
    async with running("embedder", FakeModel()) as engine:
        lines = [line("short"), line("x" * 50), line(["a", "bb", "ccc"]), b"no JSON"]
        answers = await answers_of(engine, lines)
        assert [status for status, _ in answers] == [200, 200, 200, 400]
        found = engine.readings()

    read = {*found.counters, *found.gauges, *found.histograms}
    names = {key if isinstance(key, str) else key[0] for key in read}
    assert names == {each.name for each in (*CALLS, *BATCHES)}
    assert count(engine, "model_calls") == 1
    assert count(engine, "model_records", "answered") == 3
    assert count(engine, "model_records", "refused") == 1
    assert count(engine, "model_texts") == 5
    assert count(engine, "model_truncated_texts") == 1
    # One token a character, and at most 32.
    assert count(engine, "model_tokens") == 5 + 32 + 1 + 2 + 3
    assert found.histograms["model_batch_rows"].total == 5
    assert found.histograms["model_queue_seconds"].count == 5
    assert found.gauges["model_waiting_texts"] == 0
    assert found.gauges["model_in_flight_records"] == 0


async def test_padding_is_counted_to_the_longest_text_of_a_batch() -> None:
    model = FakeModel()
    async with running("embedder", model, token_budget_tokens=1024) as engine:
        await answers_of(engine, [line(["x" * 20, "x" * 12])])
        assert count(engine, "model_padding_tokens") == 8


async def test_what_waits_and_what_was_cancelled_is_told_apart() -> None:
    model = FakeModel()
    async with running("embedder", model, token_budget_tokens=16, max_batch_texts=1) as engine:
        model.release.clear()
        chunk = Chunk("consumer-1", [line("n" * 16) for _ in range(8)], call=1)
        statuses: list[int] = []
        async with asyncio.timeout(120), aclosing(engine.infer(chunk)) as stream:
            named = await anext(stream)
            assert not named.indexes
            await asyncio.to_thread(model.running.wait, 20)
            while engine.waiting_texts + 3 < 8:
                await asyncio.sleep(0)
            assert engine.readings().gauges["model_in_flight_records"] == 8
            assert engine.readings().gauges["model_waiting_tokens"] >= 16 * 5
            engine.cancel("consumer-1", {1: [6, 7]})
            model.release.set()
            async for outcomes in stream:
                statuses += outcomes.statuses
        assert statuses.count(STATUS_OK) == 6
        assert count(engine, "model_records", "cancelled") == 2
        assert count(engine, "model_records", "turned_away") == 0


async def test_batches_that_ran_in_parts_are_counted() -> None:
    model = FakeModel()
    model.memory_tokens = 20
    async with running("embedder", model, token_budget_tokens=1024) as engine:
        await answers_of(engine, [line(["x" * 10] * 4)])
        assert count(engine, "model_split_batches") == 1


class _Slots:
    max_num_seqs = 8

    async def answer(self, _url: str, _body: dict[str, Any]) -> Answer:
        return Answer(200, b"{}")

    def check_alive(self) -> None: ...

    def shut_down(self) -> None: ...


async def test_a_generator_reads_its_slots_beside_its_calls() -> None:
    engine = GenerationEngine(_Slots(), in_flight_ratio=1.5, outcome_linger_ms=0.0, host=host())
    async for _ in engine.infer(Chunk("consumer-1", [line("a")])):
        pass
    found = engine.readings()
    await engine.stop()
    read = {*found.counters, *found.gauges, *found.histograms}
    names = {key if isinstance(key, str) else key[0] for key in read}
    assert names == {each.name for each in (*CALLS, *GENERATORS)}
    assert found.gauges["generator_slots"] == 8
    assert found.gauges["model_window_records"] == 12
    assert found.counters["model_records", "answered"] == 1
