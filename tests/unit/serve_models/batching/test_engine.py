"""A text model's replica without Ray, over a fake model. No sleep decides a result: events do."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, Never

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from handoff.chunk import (
    STATUS_EXPIRED,
    STATUS_FAILED,
    STATUS_OK,
    STATUS_UNAVAILABLE,
    STATUS_UNRECOVERABLE,
    Chunk,
)
from serve_models.batching import preparation
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits
from serve_models.chunks.chunk_server import ReplicaLostError
from serve_models.text.kinds import endpoints_of
from serve_models.text.models.base import CheckedModel
from serve_models.text.models.tokenizing import TokenizedText
from tests.unit.serve_models.fakes import (
    FAKE_DIMS,
    FakeClock,
    FakeModel,
    FakePanicError,
    fake_vector,
    host,
    line,
    settings,
)

AN_HOUR_MS = 3_600_000
Collected = dict[int, tuple[int, bytes]]


@asynccontextmanager
async def running(
    model: FakeModel,
    clock: FakeClock | None = None,
    use_threads: Callable[[int], None] = lambda threads: None,
    on_death: Callable[[], None] | None = None,
    **changes: object,
) -> AsyncIterator[BatchEngine]:
    configured = settings(served_names=["text-embedding-3-small"], **changes)
    engine = BatchEngine(
        CheckedModel(model),
        endpoints_of(model, "minilm", configured),
        limits=BatchLimits.of(configured, "cpu"),
        host=host(clock, on_death),
        outcome_linger_ms=configured.outcome_linger_ms,
        use_threads=use_threads,
    )
    engine.start()
    try:
        yield engine
    finally:
        model.release.set()
        await engine.stop()


async def outcomes_of(
    engine: BatchEngine,
    lines: list[bytes],
    deadlines_ms: Sequence[int | None] = (),
    collected: Collected | None = None,
) -> Collected:
    """Collect a chunk's outcomes: index -> (status, body); a second one for a record fails."""
    collected = {} if collected is None else collected
    async with asyncio.timeout(120):
        async for outcomes in engine.infer(Chunk("consumer-1", lines, list(deadlines_ms))):
            assert outcomes.replica == "replica-1"
            assert outcomes.window_records >= 1
            for index, status, body in zip(
                outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True
            ):
                assert index not in collected
                collected[index] = (status, body)
    assert sorted(collected) == list(range(len(lines)))
    return collected


def error_of(outcome: tuple[int, bytes]) -> Any:
    return orjson.loads(outcome[1])["error"]


def embedding_of(outcome: tuple[int, bytes], position: int = 0) -> Any:
    return orjson.loads(outcome[1])["data"][position]["embedding"]


def unit(text: str) -> NDArray[np.float32]:
    vector = fake_vector(text)
    return vector / np.linalg.norm(vector)


async def wait_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.001)


async def test_every_record_gets_its_own_texts_vectors() -> None:
    lines = [line(f"text {n}" * (n % 4 + 1)) for n in range(150)]
    lines.append(line(["one", "two", "three"], model="text-embedding-3-small"))
    async with running(FakeModel(), token_budget_tokens=64) as engine:
        collected = await outcomes_of(engine, lines)
    for n in range(150):
        assert collected[n][0] == STATUS_OK
        np.testing.assert_allclose(
            embedding_of(collected[n]), unit(f"text {n}" * (n % 4 + 1)), atol=1e-6
        )
    body = orjson.loads(collected[150][1])
    assert body["model"] == "text-embedding-3-small"
    assert body["usage"]["total_tokens"] == 3 + 3 + 5
    for position, text in enumerate(["one", "two", "three"]):
        np.testing.assert_allclose(embedding_of(collected[150], position), unit(text), atol=1e-6)


async def test_texts_of_many_calls_share_batches() -> None:
    model = FakeModel()
    model.release.clear()
    async with running(model, token_budget_tokens=1000) as engine:
        first = asyncio.create_task(outcomes_of(engine, [line("first")]))
        await asyncio.to_thread(model.running.wait, 20)
        calls = [
            asyncio.create_task(outcomes_of(engine, [line(f"c{n}"), line(f"d{n}")]))
            for n in range(10)
        ]
        # The second batch is formed as soon as there is anything; the rest gathers behind it.
        await wait_until(lambda: model.tokenized_texts == 21)
        model.release.set()
        await asyncio.gather(first, *calls)
    assert len(model.batches) <= 4
    assert sum(map(len, model.batches)) == 21


async def test_an_error_in_one_record_costs_the_others_nothing() -> None:
    lines = [
        line("good"),
        line("a", dimensions=FAKE_DIMS + 1),
        line("a", prompt_name="unknown"),
        line(["a"] * 6),
        line([]),
        line("a", model="gpt-5"),
        line("x" * 40, truncation=False),
        orjson.dumps({"custom_id": "c", "url": "/v1/chat/completions", "body": {}}),
        orjson.dumps({"custom_id": "c", "url": "/v1/embeddings", "body": None}),
        b"[1]",
        b'{"url": NaN}',
        line("x" * 40),
        line("good too", prompt_name="query"),
    ]
    async with running(FakeModel(), max_inputs_per_request=5) as engine:
        collected = await outcomes_of(engine, lines)
    statuses = [collected[index][0] for index in range(len(lines))]
    assert statuses == [200, 400, 400, 400, 400, 404, 400, 404, 400, 400, 400, 200, 200]
    params = [error_of(collected[index])["param"] for index in range(1, 8)]
    assert params == ["dimensions", "prompt_name", "input", "input", "model", "input", "url"]
    assert error_of(collected[5])["code"] == "model_not_found"
    assert error_of(collected[6])["code"] == "context_length_exceeded"
    assert "max_inputs_per_request" in error_of(collected[3])["message"]
    assert orjson.loads(collected[11][1])["data"][0]["truncated"] is True
    np.testing.assert_allclose(embedding_of(collected[12]), unit("query: good too"), atol=1e-6)


async def test_a_poison_text_fails_alone_and_its_record_once() -> None:
    model = FakeModel()
    lines = [line(f"text {n}") for n in range(40)]
    lines[17] = line(["before", "poison", "poison two", "after"])
    lines[23] = line("nan!")
    lines[29] = line("untokenizable")
    async with running(model, token_budget_tokens=4096) as engine:
        collected = await outcomes_of(engine, lines)
        engine.check_health()
    failed = {index for index, (status, _) in collected.items() if status != STATUS_OK}
    assert failed == {17, 23, 29}
    # What befalls a device may pass; what is in the text would be there again.
    statuses = [collected[index][0] for index in (17, 23, 29)]
    assert statuses == [STATUS_FAILED, STATUS_UNRECOVERABLE, STATUS_FAILED]
    assert "device-side assert" in error_of(collected[17])["message"]
    assert "NaN" in error_of(collected[23])["message"]
    assert error_of(collected[29])["code"] == "model_failed"


async def test_a_text_that_makes_rust_code_panic_fails_alone() -> None:
    lines = [line(f"text {n}") for n in range(40)]
    lines[3] = line("tokenizer panic")
    lines[21] = line("model panic")
    async with running(FakeModel(), token_budget_tokens=4096) as engine:
        collected = await outcomes_of(engine, lines)
        engine.check_health()
    failed = {index for index, (status, _) in collected.items() if status != STATUS_OK}
    assert failed == {3, 21}
    assert {collected[index][0] for index in failed} == {STATUS_UNRECOVERABLE}
    assert "FakePanicError: slice index" in error_of(collected[3])["message"]
    assert "FakePanicError: unwrap on None" in error_of(collected[21])["message"]


@pytest.mark.parametrize("words", ["beyond the table", "tokenizer's value"])
async def test_a_text_that_would_fail_again_is_given_up_at_once(words: str) -> None:
    lines = [line(f"text {n}") for n in range(9)]
    lines[4] = line(words)
    async with running(FakeModel(), token_budget_tokens=4096) as engine:
        collected = await outcomes_of(engine, lines)
        engine.check_health()
    assert collected.pop(4)[0] == STATUS_UNRECOVERABLE
    assert {status for status, _ in collected.values()} == {STATUS_OK}


async def test_batches_shrink_to_what_memory_holds_and_it_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = FakeModel()
    model.memory_tokens = 120
    lines = [line("a text of 15 ch") for _ in range(64)]
    async with running(model, token_budget_tokens=1024, parallel_batches=1) as engine:
        first = await outcomes_of(engine, lines)
        ran_out = engine.too_large_batches
        again = await outcomes_of(engine, lines)
        assert engine.too_large_batches == ran_out
        engine.check_health()
    assert {status for status, _ in [*first.values(), *again.values()]} == {STATUS_OK}
    assert ran_out > 0
    (told,) = [each.getMessage() for each in caplog.records if "out of memory" in each.message]
    assert "token_budget_tokens" in told


async def test_poison_after_poison_does_not_cost_a_healthy_replica() -> None:
    async with running(FakeModel()) as engine:
        for _ in range(5):
            collected = await outcomes_of(engine, [line("poison")])
            assert collected[0][0] == STATUS_FAILED
        engine.check_health()


async def test_what_a_broken_model_was_given_is_lost_with_the_replica() -> None:
    deaths: list[str] = []
    model = FakeModel()
    model.release.clear()
    async with running(
        model, on_death=lambda: deaths.append("dead"), max_batch_texts=2, parallel_batches=1
    ) as engine:
        # Given two batches of two, one under way and one that stands ready, and more in the pool
        model.is_broken = True
        collected: Collected = {}
        lines = [line(f"text number {n}") for n in range(8)]
        call = asyncio.create_task(outcomes_of(engine, lines, collected=collected))
        await asyncio.to_thread(model.running.wait, 20)
        await wait_until(lambda: engine.waiting_texts == 4)
        # When the model fails on the first and on a harmless text too
        model.release.set()
        await wait_until(lambda: deaths)
        # Then nobody is answered that the model failed on him, and who only waited is sent away
        await wait_until(lambda: collected)
        assert [status for status, _ in collected.values()] == [STATUS_UNAVAILABLE] * 4
        with pytest.raises(ReplicaLostError, match="harmless"):
            engine.check_health()
        # And no call ends before the process does, lest its records come back to this replica
        late = asyncio.create_task(outcomes_of(engine, [line("late")]))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not call.done()
        assert not late.done()
        await engine.stop()
        for lost in (call, late):
            with pytest.raises(ReplicaLostError, match="harmless"):
                await lost
    assert len(collected) == 4
    assert deaths == ["dead"]


async def test_a_text_that_breaks_the_model_is_lost_with_the_replica() -> None:
    model = FakeModel()
    async with running(model, token_budget_tokens=4096) as engine:
        # Given a model that fails on whatever it is given from the first poison on
        model.poison_breaks = True
        lines = [line(f"a text {n}") for n in range(8)] + [line("poison")]
        collected: Collected = {}
        with pytest.raises(ReplicaLostError, match="harmless"):
            await outcomes_of(engine, lines, collected=collected)
    assert STATUS_FAILED not in {status for status, _ in collected.values()}


async def test_a_batch_that_hangs_is_lost_and_what_waits_goes_elsewhere() -> None:
    deaths: list[str] = []
    model, clock = FakeModel(), FakeClock()
    async with running(
        model,
        clock,
        on_death=lambda: deaths.append("dead"),
        max_batch_texts=1,
        parallel_batches=1,
    ) as engine:
        await outcomes_of(engine, [line("quick")])
        model.running.clear()
        model.release.clear()
        collected: Collected = {}
        lines = [line(f"text number {n}") for n in range(5)]
        call = asyncio.create_task(outcomes_of(engine, lines, collected=collected))
        await asyncio.to_thread(model.running.wait, 20)
        await wait_until(lambda: engine.waiting_texts == 3)
        clock.now_s += 60.0
        engine.check_health()
        clock.now_s += 1.0
        with pytest.raises(ReplicaLostError, match="a batch has been running for 61 s"):
            engine.check_health()
        assert deaths == ["dead"]
        await wait_until(lambda: collected)
        assert [status for status, _ in collected.values()] == [STATUS_UNAVAILABLE] * 3
        model.release.set()
        await engine.stop()
        with pytest.raises(ReplicaLostError, match="61 s"):
            await call


async def test_a_call_that_finds_out_that_a_batch_hangs_ends_with_the_process() -> None:
    deaths: list[str] = []
    model, clock = FakeModel(), FakeClock()
    async with running(model, clock, on_death=lambda: deaths.append("dead")) as engine:
        await outcomes_of(engine, [line("quick")])
        model.running.clear()
        model.release.clear()
        call = asyncio.create_task(outcomes_of(engine, [line("hangs")]))
        await asyncio.to_thread(model.running.wait, 20)
        # When the next call comes before Serve has asked for health
        clock.now_s += 61.0
        late = asyncio.create_task(outcomes_of(engine, [line("late")]))
        await wait_until(lambda: deaths)
        for _ in range(100):
            await asyncio.sleep(0)
        # Then its record does not go back while it might be sent here again
        assert not call.done()
        assert not late.done()
        model.release.set()
        await engine.stop()
        for lost in (call, late):
            with pytest.raises(ReplicaLostError, match="61 s"):
                await lost
    assert deaths == ["dead"]


async def test_a_tokenizer_that_hangs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model, clock = FakeModel(), FakeClock()
    async with running(model, clock) as engine:
        tokenizing, release = threading.Event(), threading.Event()
        tokenize = model.tokenize

        def hanging(texts: Sequence[str], names: Sequence[str | None]) -> list[TokenizedText]:
            tokenizing.set()
            assert release.wait(20)
            return tokenize(texts, names)

        await outcomes_of(engine, [line("quick")])
        monkeypatch.setattr(model, "tokenize", hanging)
        call = asyncio.create_task(outcomes_of(engine, [line("hangs")]))
        await asyncio.to_thread(tokenizing.wait, 20)
        clock.now_s += 61.0
        with pytest.raises(ReplicaLostError, match="in the tokenizer for 61 s"):
            engine.check_health()
        with pytest.raises(ReplicaLostError, match="in the tokenizer for 61 s"):
            await call
        release.set()


async def test_a_pool_that_is_full_of_tokens_lets_the_rest_wait_untokenized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preparation, "_MOST_POOL_TOKENS", 1000)
    model = FakeModel()
    model.release.clear()
    lines = [line("thirty characters of one text.") for _ in range(300)]
    async with running(model, max_batch_texts=1, parallel_batches=1) as engine:
        calls = [asyncio.create_task(outcomes_of(engine, lines)) for _ in range(4)]
        await asyncio.to_thread(model.running.wait, 20)
        await wait_until(lambda: engine.waiting_texts > 30)
        for _ in range(100):
            await asyncio.sleep(0)
        # One slice of 64 texts, of which two are with the model; nobody else found room.
        assert (model.tokenized_texts, engine.waiting_texts) == (64, 62)
        model.release.set()
        for call in calls:
            await call
    # One more is timed alone.
    assert model.tokenized_texts == 4 * 300 + 1


async def test_a_consumer_that_goes_away_leaves_its_room_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preparation, "_MOST_POOL_TOKENS", 100)
    model = FakeModel()
    model.release.clear()
    async with running(model, max_batch_texts=1, parallel_batches=1) as engine:
        leaving = asyncio.create_task(outcomes_of(engine, [line("a text to leave")] * 100))
        await wait_until(lambda: engine.waiting_texts == 62)
        staying = asyncio.create_task(outcomes_of(engine, [line("stays")]))
        for _ in range(100):
            await asyncio.sleep(0)
        assert model.tokenized_texts == 64
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await wait_until(lambda: model.tokenized_texts == 65)
        model.release.set()
        assert (await staying)[0][0] == STATUS_OK


async def test_a_new_consumer_learns_the_window_before_anything_is_answered() -> None:
    model = FakeModel()
    model.release.clear()
    async with running(model) as engine:
        lines = [line(["text"] * 100) for _ in range(8)]
        async with aclosing(engine.infer(Chunk("consumer-1", lines))) as stream:
            first = await anext(stream)
            assert (first.replica, first.indexes) == ("replica-1", [])
            # By what the records hold: 256 of them would be 25,600 texts.
            assert first.window_records < 8
        model.release.set()
        async with aclosing(engine.infer(Chunk("consumer-1", lines))) as stream:
            assert (await anext(stream)).indexes


async def test_an_expired_record_costs_no_model_time() -> None:
    model, clock = FakeModel(), FakeClock()
    lines = [line("late"), line("in time"), line("no deadline"), line("at the very moment")]
    deadlines_ms = [clock.now_ms - 1, clock.now_ms + 60_000, None, clock.now_ms]
    async with running(model, clock) as engine:
        collected = await outcomes_of(engine, lines, deadlines_ms)
    assert collected[0] == (STATUS_EXPIRED, b"")
    assert collected[3] == (STATUS_EXPIRED, b"")
    assert [collected[1][0], collected[2][0]] == [STATUS_OK, STATUS_OK]
    assert sorted(text for batch in model.batches for text in batch) == ["in time", "no deadline"]


async def test_a_record_that_expires_in_the_pool_costs_no_model_time() -> None:
    # Given a model that is busy, and a record that waits behind it
    model, clock = FakeModel(), FakeClock()
    model.release.clear()
    async with running(model, clock, token_budget_tokens=16, max_batch_texts=1) as engine:
        busy = asyncio.create_task(outcomes_of(engine, [line("busy"), line("next")]))
        await asyncio.to_thread(model.running.wait, 20)
        await wait_until(lambda: engine.waiting_texts == 0)
        late = asyncio.create_task(
            outcomes_of(engine, [line(["late one", "late two"])], [clock.now_ms + 1000])
        )
        await wait_until(lambda: engine.waiting_texts == 2)
        # When its deadline passes
        clock.now_ms += 1001
        model.release.set()
        # Then it is answered without the model
        assert (await late)[0] == (STATUS_EXPIRED, b"")
        await busy
        await wait_until(lambda: engine.waiting_texts == 0)
    assert sorted(text for batch in model.batches for text in batch) == ["busy", "next"]


async def test_a_consumer_that_goes_away_takes_its_texts_along() -> None:
    model = FakeModel()
    model.release.clear()
    async with running(model, token_budget_tokens=16, max_batch_texts=1) as engine:
        kept = asyncio.create_task(outcomes_of(engine, [line("kept")]))
        await asyncio.to_thread(model.running.wait, 20)
        leaving = asyncio.create_task(outcomes_of(engine, [line(f"gone {n}") for n in range(100)]))
        await wait_until(lambda: engine.waiting_texts == 99)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        gc.collect()
        await wait_until(lambda: engine.waiting_texts == 0)
        model.release.set()
        await kept
    assert sum(map(len, model.batches)) <= 2


async def test_batches_run_beside_each_other_and_share_the_threads() -> None:
    model = FakeModel()
    threads: list[int] = []
    model.release.clear()
    async with running(
        model, use_threads=threads.append, threads=4, parallel_batches=2, max_batch_texts=1
    ) as engine:
        answered = asyncio.create_task(outcomes_of(engine, [line(f"{n}") for n in range(6)]))
        await wait_until(lambda: model.at_work == 2)
        # Two run, one stands ready
        await wait_until(lambda: engine.waiting_texts == 3)
        assert model.at_work == 2
        model.release.set()
        await answered
    assert model.most_at_work == 2
    assert threads[:5] == [2] * 5


async def test_a_batch_that_is_alone_has_all_threads() -> None:
    model = FakeModel()
    threads: list[int] = []
    async with running(model, use_threads=threads.append, threads=4) as engine:
        for _ in range(3):
            await outcomes_of(engine, [line("alone")])
    assert threads == [4, 4, 4]


async def test_closing_the_stream_early_frees_the_pool() -> None:
    model = FakeModel()
    lines = [line("n" * (n % 9 + 1)) for n in range(50)]
    async with running(model, token_budget_tokens=16, max_batch_texts=1) as engine:
        async with aclosing(engine.infer(Chunk("consumer-1", lines))) as stream:
            await anext(stream)
            model.running.clear()
            model.release.clear()
            await asyncio.to_thread(model.running.wait, 20)
        assert engine.waiting_texts == 0
        model.release.set()
        assert (await outcomes_of(engine, [line("after")]))[0][0] == STATUS_OK


async def test_a_panic_while_a_chunk_is_prepared_answers_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(FakeModel()) as engine:

        def panicking(lines: object) -> Never:
            raise FakePanicError("out of bounds")

        monkeypatch.setattr(engine._preparation.reader, "prepare", panicking)
        collected = await outcomes_of(engine, [line(f"t{n}") for n in range(5)])
        assert {status for status, _ in collected.values()} == {STATUS_FAILED}
        engine.check_health()


@pytest.mark.parametrize("death", [AssertionError, FakePanicError])
async def test_a_dead_loop_ends_every_call_after_what_is_finished(
    monkeypatch: pytest.MonkeyPatch, death: type[BaseException]
) -> None:
    model = FakeModel()
    model.release.clear()
    lines = [line(f"t{n}") for n in range(5)]
    finished: Collected = {}
    others: Collected = {}
    async with running(model, max_batch_texts=1, outcome_linger_ms=AN_HOUR_MS) as engine:
        waiting = asyncio.create_task(outcomes_of(engine, lines, collected=finished))
        await asyncio.to_thread(model.running.wait, 20)
        await wait_until(lambda: engine.waiting_texts == 3)
        another = asyncio.create_task(outcomes_of(engine, lines, collected=others))
        await wait_until(lambda: engine.waiting_texts == 8)

        def broken(now_s: float) -> Never:
            raise death("a bug in batch forming")

        monkeypatch.setattr(engine._pool, "next_batch", broken)
        model.release.set()
        for call in (waiting, another):
            with pytest.raises(ReplicaLostError, match="a bug in batch forming"):
                await call
        # The batches under way, as many as there are runners, may have been in time.
        assert len(finished) <= 2
        assert {status for status, _ in finished.values()} <= {STATUS_OK}
        assert others == {}
        with pytest.raises(ReplicaLostError, match="a bug in batch forming"):
            engine.check_health()
        with pytest.raises(ReplicaLostError):
            await outcomes_of(engine, [line("too late")])


async def test_stopping_ends_the_calls_that_wait_after_what_is_finished() -> None:
    model = FakeModel()
    async with running(model, max_batch_texts=1, outcome_linger_ms=AN_HOUR_MS) as engine:
        collected: Collected = {}
        model.release.clear()
        lines = [line("t0"), line(5), line("t2")]
        waiting = asyncio.create_task(outcomes_of(engine, lines, collected=collected))
        await asyncio.to_thread(model.running.wait, 20)
        await engine.stop()
        with pytest.raises(ReplicaLostError, match="the replica was stopped"):
            await waiting
    assert {index: status for index, (status, _) in collected.items()} == {1: 400}


async def test_an_empty_chunk_ends_at_once() -> None:
    async with running(FakeModel()) as engine:
        assert await outcomes_of(engine, []) == {}


async def test_a_consumer_is_told_its_window_before_its_texts_are_through() -> None:
    model = FakeModel()
    model.release.clear()
    async with running(model) as engine:
        bulk = Chunk("bulk", [line("a")], [], 100_000)
        other = Chunk("other", [line("b")] * 100, [], 100)
        async with aclosing(engine.infer(bulk)) as stream, asyncio.timeout(120):
            whole = (await anext(stream)).window_records
            async with aclosing(engine.infer(other)) as others:
                assert 100 < (await anext(others)).window_records < 200
                assert engine._estimator.window_records("bulk", 0.0) == whole - 100
            told = await anext(stream)
            assert (told.window_records, told.indexes) == (whole, [])
            model.release.set()
            assert (await anext(stream)).indexes == [0]


async def test_a_change_of_settings_counts_for_the_next_texts_and_batches() -> None:
    async with running(FakeModel()) as engine:
        changed = settings(
            served_names=["other"], token_budget_tokens=64, max_batch_texts=3, max_wait_ms=7.0
        )
        before = await outcomes_of(engine, [line("a", model="other", input="x")])

        reader = endpoints_of(FakeModel(), "minilm", changed)
        engine.reconfigure(reader, BatchLimits.of(changed, "cpu"))

        after = await outcomes_of(engine, [line("a", model="other", input="x")])
        assert (before[0][0], after[0][0]) == (404, STATUS_OK)
        assert engine._pool.token_budget_tokens == 64
        assert (engine._pool.max_batch_texts, engine._pool.max_wait_s) == (3, 0.007)


class TimedModel(FakeModel):
    """Takes simulated time: a fixed cost of 5,000 tokens for each forward."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def run(self, texts: Sequence[TokenizedText]) -> NDArray[np.float32]:
        self._clock.now_s += (5000 + len(texts) * max(text.tokens for text in texts)) * 1e-6
        return super().run(texts)


async def test_what_a_forward_costs_is_learned_and_batches_grow_by_it() -> None:
    clock = FakeClock()
    model = TimedModel(clock)
    configured = settings(max_wait_ms=1.0)
    limits = replace(
        # Parallel batches would advance the simulated clock for each other.
        BatchLimits.of(configured, "cuda"),
        token_budget_tokens=64,
        most_budget_tokens=4096,
        parallel_batches=1,
    )
    engine = BatchEngine(
        CheckedModel(model),
        endpoints_of(model, "minilm", configured),
        limits=limits,
        host=host(clock),
        outcome_linger_ms=0.0,
    )
    engine.start()
    try:
        lines = [line("n" * (n % 30 + 1)) for n in range(1200)]
        for _ in range(6):
            await outcomes_of(engine, lines)
        assert 1000 < engine._pool.fixed_tokens < 7000
        assert engine._pool.token_budget_tokens == 4096
        # Harmless texts are timed, and answered to nobody.
        assert ["probe"] in model.batches
        engine.reconfigure(
            endpoints_of(model, "minilm", configured), replace(limits, most_budget_tokens=0)
        )
        assert engine._pool.token_budget_tokens == 64
    finally:
        await engine.stop()
