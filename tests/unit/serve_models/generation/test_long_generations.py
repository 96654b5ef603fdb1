"""A healthy generation of many hours, from the consumer's engine to the model, in simulated time.

A reasoning model may think for hours. Nothing on its way may take that for a hang, and a model that
does hang must still be found out.
"""

import asyncio
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from consumer.engine.calls.attempt_timeout import LEAST_S
from consumer.engine.engine import Engine
from consumer.engine.work import Call
from handoff.chunk import STATUS_OK, Chunk
from serve_models.chunks.chunk_server import Host, ReplicaLostError
from serve_models.chunks.watchdog import Patience, SilenceWatch
from serve_models.generation.engine import WORKING_EVERY_S, Answer, GenerationEngine
from tests.engines import P0, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS, SimulatedClock, simulate

HOURS_S = 3600.0
TOKEN_EVERY_S = 30.0
LOOK_EVERY_S = 5.0


class ThinkingModel:
    """Thinks for as long as the test says, and gives a token now and then until it hangs."""

    max_num_seqs = 2

    def __init__(self, thinks_s: float, hangs_after_s: float = float("inf")) -> None:
        self._thinks_s = thinks_s
        self._hangs_after_s = hangs_after_s
        self._clock = SimulatedClock()
        self._watch = SilenceWatch(Patience(least_s=600.0, first_s=1800.0))
        self.aborted = 0

    async def answer(self, url: str, body: dict[str, Any]) -> Answer:
        self._watch.opened(self._clock.monotonic())
        began_s = self._clock.monotonic()
        try:
            while (took_s := self._clock.monotonic() - began_s) < self._thinks_s:
                if took_s >= self._hangs_after_s:
                    await asyncio.Event().wait()
                await asyncio.sleep(TOKEN_EVERY_S)
                self._watch.heard(self._clock.monotonic())
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self._watch.closed()
        return Answer(STATUS_OK, b'{"object":"chat.completion"}', tokens=1)

    def check_alive(self) -> None:
        silent_s = self._watch.silent_s(self._clock.monotonic())
        if silent_s is not None:
            raise ReplicaLostError(f"no token for {silent_s:.0f} s")

    def shut_down(self) -> None:
        pass


class Consumer:
    """What a consumer does with its calls: it takes what streams back, and looks for hung calls."""

    def __init__(self, engine: Engine, replica: GenerationEngine) -> None:
        self.engine = engine
        self.replica = replica
        self.given_up: list[Call] = []

    async def run(self, call: Call, chunk: Chunk) -> None:
        looking = asyncio.create_task(self._look(asyncio.current_task()))
        clock = SimulatedClock()
        reason = "over"
        try:
            async with aclosing(self.replica.infer(chunk)) as stream:
                async for outcomes in stream:
                    now_s = clock.monotonic()
                    self.engine.take_outcomes(call, outcomes, now_s, clock.epoch_ms())
        except (asyncio.CancelledError, ReplicaLostError) as error:
            reason = str(error)
        looking.cancel()
        self.engine.end_call(call, reason, clock.monotonic(), clock.epoch_ms())

    async def _look(self, calling: asyncio.Task[Any] | None) -> None:
        clock = SimulatedClock()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now_s, epoch_ms = clock.monotonic(), clock.epoch_ms()
            self.engine.advance(now_s, epoch_ms)
            unwanted = self.engine.calls.give_up_overdue(now_s, epoch_ms)
            self.given_up += unwanted
            if unwanted and calling is not None:
                calling.cancel()


async def generate(
    model: ThinkingModel, headers: list[tuple[str, bytes]] | None = None, **settings: Any
) -> tuple[Consumer, float]:
    """Have one record answered; return the consumer, and how long it took."""
    replica = GenerationEngine(
        model,
        in_flight_ratio=1.0,
        outcome_linger_ms=10.0,
        host=Host("replica-1", SimulatedClock()),
    )
    engine = make_engine(**settings)
    engine.assign({P0: None})
    engine.deliver([record(0, headers=headers or [])], 0.0, EPOCH_MS)
    consumer = Consumer(engine, replica)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    await asyncio.create_task(consumer.run(call, chunk))
    took_s = SimulatedClock().monotonic()
    await replica.stop()
    return consumer, took_s


def answer_of(engine: Engine) -> dict[str, Any]:
    (publication,) = publish_all(engine)
    answer: dict[str, Any] = orjson.loads(publication.messages[0].value or b"")
    return answer


def test_a_generation_of_ten_hours_is_answered_at_its_first_attempt() -> None:
    async def scenario() -> None:
        model = ThinkingModel(10 * HOURS_S)
        consumer, took_s = await generate(model)
        assert took_s == pytest.approx(10 * HOURS_S, abs=1)
        assert consumer.given_up == []
        assert model.aborted == 0
        assert consumer.engine.counters.retried_records == 0
        assert answer_of(consumer.engine)["response"]["status_code"] == STATUS_OK

    simulate(scenario())


def test_its_replica_keeps_its_window_all_the_while() -> None:
    async def scenario() -> None:
        replica = GenerationEngine(
            ThinkingModel(10 * HOURS_S),
            in_flight_ratio=1.0,
            outcome_linger_ms=10.0,
            host=Host("replica-1", SimulatedClock()),
        )
        engine = make_engine()
        engine.assign({P0: None})
        engine.deliver([record(0)], 0.0, EPOCH_MS)
        call, chunk = next_call(engine, 0.0, EPOCH_MS)
        running = asyncio.create_task(Consumer(engine, replica).run(call, chunk))
        for hour in range(1, 10):
            await asyncio.sleep(HOURS_S)
            engine.calls.windows.forget_silent(hour * HOURS_S)
            assert engine.calls.windows.replicas == ["replica-1"]
            assert engine.calls.windows.room_records == 1
        await running
        await replica.stop()

    simulate(scenario())


def test_a_model_that_hangs_is_found_out_by_its_replica_and_costs_one_attempt() -> None:
    async def scenario() -> None:
        consumer, took_s = await generate(ThinkingModel(10 * HOURS_S, hangs_after_s=2 * HOURS_S))
        # Its last sign of work comes before the watchdog's limit, the next look after it.
        assert 2 * HOURS_S + 600 < took_s <= 2 * HOURS_S + 600 + 2 * WORKING_EVERY_S
        assert consumer.engine.counters.retried_records == 1

    simulate(scenario())


def test_a_replica_that_says_nothing_any_more_is_given_up_by_its_consumer() -> None:
    async def scenario() -> None:
        model = ThinkingModel(10 * HOURS_S)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GenerationEngine, "say_working", lambda _: None)
            consumer, took_s = await generate(model)
        assert LEAST_S <= took_s <= LEAST_S + 2 * LOOK_EVERY_S
        assert consumer.given_up
        assert model.aborted == 1

    simulate(scenario())


def test_a_limit_that_the_route_sets_cuts_off_what_takes_longer() -> None:
    async def scenario() -> None:
        model = ThinkingModel(HOURS_S)
        consumer, took_s = await generate(model, attempt_timeout_s=900.0)
        assert 900 <= took_s <= 900 + 2 * LOOK_EVERY_S
        assert consumer.given_up
        assert model.aborted == 1

    simulate(scenario())


def test_a_deadline_ends_it_to_the_second() -> None:
    async def scenario() -> None:
        model = ThinkingModel(10 * HOURS_S)
        due_ms = EPOCH_MS + int(3 * HOURS_S * 1000)
        consumer, took_s = await generate(model, [("headrace-deadline", b"%d" % due_ms)])
        assert took_s == pytest.approx(3 * HOURS_S, abs=1)
        assert model.aborted == 1
        assert answer_of(consumer.engine)["error"]["code"] == "request_expired"

    simulate(scenario())
