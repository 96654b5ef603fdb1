"""A model that hangs, and failures over its outcomes that are not the model's."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from consumer.engine.calls.calls import DEADLINE_GRACE_S
from handoff.chunk import Chunk, Outcomes
from schemas.settings.file import RetrySettings
from tests.counting_model import CountingModel
from tests.simulated_service import ROUTE, SimulatedService
from tests.simulation import EPOCH_MS, simulate

FOR_EVER_MS = 1e12
TIMEOUT_S = 30.0
PATIENT_ROUTE = ROUTE.model_copy(
    update={"retry": RetrySettings(attempt_timeout_s=TIMEOUT_S, max_attempts=3)}
)


def test_a_record_that_hangs_is_a_dead_letter_in_the_end_and_holds_nobody_up() -> None:
    async def main() -> None:
        service = SimulatedService(route=PATIENT_ROUTE)
        await service.join()
        await asyncio.sleep(1)
        (hung,) = service.publish(1, ms=FOR_EVER_MS)
        for _ in range(60):
            service.publish(20, ms=100)
            await asyncio.sleep(5)
            assert len(service.results()) >= len(service.expected) - 1
        assert service.model.started[hung] == 3
        assert service.model.in_flight == 0
        (letter,) = service.broker.records("dead-letters")
        said = dict(letter.headers)["headrace-error-message"] or b""
        assert b"sent nothing for 30 s" in said
        service.check_commits()
        await service.close()

    simulate(main())


def test_a_replica_that_hangs_with_all_it_has_costs_no_record() -> None:
    async def main() -> None:
        service = SimulatedService(route=PATIENT_ROUTE)
        model = StuckModel()
        service.model = model
        await service.join()
        service.publish(500, ms=10)
        await asyncio.sleep(3 * TIMEOUT_S)
        assert not service.results()
        model.is_stuck = False
        await service.until_done()
        assert set(service.results().values()) == {1}
        assert not service.broker.records("dead-letters")
        await service.close()

    simulate(main())


class StuckModel(CountingModel):
    """Takes calls, and answers none while it is stuck."""

    is_stuck = True

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        async for outcomes in super().infer(chunk):
            yield outcomes
            if self.is_stuck:
                await asyncio.Event().wait()


def test_work_that_takes_longer_than_the_learned_limit_from_the_first_is_done_all_the_same() -> (
    None
):
    async def main() -> None:
        service = SimulatedService(model=CountingModel(window_records=8))
        await service.join()
        service.publish(24, ms=2_000_000)
        await service.until_done(timeout_s=24 * 3600)
        assert set(service.results().values()) == {1}
        assert not service.broker.records("dead-letters")
        await service.close()

    simulate(main())


def test_a_deadline_is_kept_though_the_model_hangs() -> None:
    async def main() -> None:
        service = SimulatedService()
        await service.join()
        await asyncio.sleep(1)
        due_ms = EPOCH_MS + int(service.clock.monotonic() * 1000) + 20_000
        (hung,) = service.publish(1, ms=FOR_EVER_MS, headrace_deadline=b"%d" % due_ms)
        await asyncio.sleep(20)
        assert service.model.in_flight == 1
        assert not service.results()
        await asyncio.sleep(DEADLINE_GRACE_S + 2)
        assert service.model.in_flight == 0
        (result,) = service.broker.records("results")
        assert orjson.loads(result.value or b"")["error"]["code"] == "request_expired"
        assert service.results() == {hung: 1}
        await service.close()

    simulate(main())


@pytest.mark.parametrize("method", ["take_outcomes", "end_call", "next_call"])
def test_a_fault_of_the_engine_fails_the_worker_and_is_not_the_models(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        service = SimulatedService()
        member = await service.join()
        service.publish(10, ms=1_000)
        await asyncio.sleep(0.5)

        def fail(*_args: object) -> None:
            raise KeyError("a fault of ours")

        monkeypatch.setattr(member.engine, method, fail)
        await asyncio.sleep(2)
        with pytest.raises(RuntimeError, match="a fault of ours"):
            member.check()
        assert member.engine.counters.retried_records == 0
        await service.leave(member)
        monkeypatch.undo()

        await service.join()
        await service.until_done()
        assert set(service.results().values()) == {1}
        await service.close()

    simulate(main())


class MisnumberingModel(CountingModel):
    """Answers records that it was not given, once."""

    has_misnumbered = False

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        async for outcomes in super().infer(chunk):
            if outcomes.indexes and not self.has_misnumbered:
                self.has_misnumbered = True
                outcomes.indexes[0] = 10_000
            yield outcomes


def test_outcomes_that_break_their_promise_are_the_models_fault() -> None:
    async def main() -> None:
        service = SimulatedService(model=MisnumberingModel())
        member = await service.join()
        service.publish(10, ms=10)
        await service.until_done()
        assert member.failure is None
        assert member.engine.counters.retried_records > 0
        await service.close()

    simulate(main())
