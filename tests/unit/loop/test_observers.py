"""What only observes a consumer may fail: records get their outcomes, and it goes on."""

import asyncio
import logging
from typing import Any

import pytest

from consumer.engine.engine import Engine
from consumer.engine.offsets.log_ends import LogEnds
from consumer.loop.event_log import EventLog
from tests.simulated_service import SimulatedService
from tests.simulation import simulate


def fail(*_arguments: Any, **_options: Any) -> Any:
    raise ValueError("a defect")


@pytest.mark.parametrize(
    ("observer", "method"),
    [(Engine, "note_published"), (EventLog, "_look_at_waits"), (LogEnds, "note")],
)
def test_a_defect_of_an_observer_is_logged_once_and_costs_no_record(
    observer: type, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(observer, method, fail)

    async def main() -> None:
        service = SimulatedService()
        member = await service.join()
        service.publish(50)
        await service.until_done()
        await asyncio.sleep(20)
        member.check()
        await service.close()
        assert set(service.results().values()) == {1}

    simulate(main())
    warnings = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert {each.__dict__.get("event") for each in warnings} == {"observing_failed"}
    assert len(warnings) == 1
