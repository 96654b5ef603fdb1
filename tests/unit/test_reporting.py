"""A consumer replica's reports; Serve is faked."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from consumer.replica import deployment
from consumer.replica.deployment import Consumer


def test_metrics_go_on_while_the_status_board_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    updates: list[Any] = []

    async def never(_snapshot: Any) -> None:
        await asyncio.Event().wait()

    consumer: Any = SimpleNamespace(
        _snapshot=lambda *_: SimpleNamespace(to_dict=dict),
        _metrics=SimpleNamespace(update=updates.append),
        _status=SimpleNamespace(report=SimpleNamespace(remote=never)),
    )
    monkeypatch.setattr(deployment, "read_engine", lambda *_: None)
    monkeypatch.setattr(deployment, "_REPORT_EVERY_S", 0.0)
    monkeypatch.setattr(deployment, "_REPORT_TIMEOUT_S", 0.01, raising=False)

    running = SimpleNamespace(pause=None, loop=SimpleNamespace(engine=None))

    async def report() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await Consumer._report(consumer, running)  # type: ignore[arg-type]

    asyncio.run(report())

    assert len(updates) > 1
