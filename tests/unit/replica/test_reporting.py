"""A consumer's reports: what fails in them stops neither the reports nor the route."""

import asyncio
import logging
from typing import Any

import pytest

from consumer.engine.pausing import Pause
from consumer.replica import deployment
from consumer.replica.deployment import Consumer
from tests.simulation import simulate


class Loop:
    """Stands for a ``PausableLoop`` that is paused."""

    def __init__(self) -> None:
        self.pause: Pause | None = Pause(0, "a test")
        self.is_out = True

    def check(self) -> None: ...

    def follow(self, pause: Pause | None) -> None:
        self.pause = pause


class Board:
    """Takes reports, and answers that the route goes on."""

    def __init__(self) -> None:
        self.report = self

    async def remote(self, _snapshot: Any) -> dict[str, Any]:
        return {"pause": None}


class Snapshot:
    def to_dict(self) -> dict[str, Any]:
        return {}


class Bare(Consumer):
    """Without Serve's way of ending."""

    def __del__(self) -> None:  # type: ignore[override] # Serve awaits the real one
        pass


def make(monkeypatch: pytest.MonkeyPatch, failing: str, times: float) -> Consumer:
    """Return a consumer in which a method fails so often."""
    made = Bare.__new__(Bare)
    made._route_name, made._is_drained = "r", False
    made._status, made._consumer = Board(), Loop()  # type: ignore[assignment] # stands for it
    made._failed_reports, made._failures_told = 0, set()
    failures = 0

    def fail(*_: Any) -> Any:
        nonlocal failures
        failures += 1
        if failures <= times:
            raise ValueError("a defect")
        return Snapshot()

    monkeypatch.setattr(made, "_snapshot", lambda *_: Snapshot())
    monkeypatch.setattr(made, "_update_metrics", lambda *_: None)
    monkeypatch.setattr(made, failing, fail)
    monkeypatch.setattr(deployment, "look_after_logs", lambda: None)
    return made


@pytest.mark.parametrize("failing", ["_snapshot", "_update_metrics"])
def test_a_defect_in_a_report_is_logged_once_and_the_next_ones_go_out(
    failing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        consumer = make(monkeypatch, failing, times=3)
        loop: Any = consumer._consumer
        consumer._reporting = asyncio.create_task(consumer._report(loop))
        await asyncio.sleep(10)
        await consumer.check_health()
        assert loop.pause is None
        consumer._reporting.cancel()

    simulate(main())
    told = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert [each.__dict__["event"] for each in told] == ["report_failed"]


def test_a_paused_consumer_that_cannot_report_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        consumer = make(monkeypatch, "_snapshot", times=10_000)
        loop: Any = consumer._consumer
        consumer._reporting = asyncio.create_task(consumer._report(loop))
        await asyncio.sleep(10)
        await consumer.check_health()
        await asyncio.sleep(30)
        with pytest.raises(RuntimeError, match="would not hear of the pause's end"):
            await consumer.check_health()
        # One that reads is worth more than its reports.
        loop.is_out = False
        await consumer.check_health()
        consumer._reporting.cancel()

    simulate(main())


def test_a_consumer_whose_reports_have_ended_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        consumer = make(monkeypatch, "_snapshot", times=0)
        loop: Any = consumer._consumer
        consumer._reporting = asyncio.create_task(consumer._report(loop))
        await asyncio.sleep(1)
        consumer._reporting.cancel()
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="ceased to report"):
            await consumer.check_health()

    simulate(main())


def test_metrics_go_on_while_the_status_board_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make(monkeypatch, "_snapshot", 0)
    updates = 0

    class SilentBoard(Board):
        async def remote(self, _snapshot: Any) -> dict[str, Any]:
            return await asyncio.Future()

    def update(*_: Any) -> None:
        nonlocal updates
        updates += 1

    monkeypatch.setattr(made, "_status", SilentBoard())
    monkeypatch.setattr(made, "_update_metrics", update)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await made._report(Loop())  # type: ignore[arg-type] # stands for it

    simulate(main())

    assert updates > 1
