"""What of a control topic is handed on."""

import asyncio
import logging

import pytest

from consumer.engine.counters import Counters
from consumer.loop.control_reader import ControlReader, TimedControl
from consumer.ports import Record
from schemas.wire.control import ControlRecord
from tests.engines import P0

CANCEL = ControlRecord(action="cancel", route="chat", job="nightly")


class Controls:
    """A control topic of one poll."""

    def __init__(self, records: list[Record]) -> None:
        self._records = records

    @property
    def is_caught_up(self) -> bool:
        return not self._records

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def poll(self, timeout_s: float) -> list[Record]:
        del timeout_s
        records, self._records = self._records, []
        return records


def test_a_control_record_that_says_nothing_of_its_time_is_skipped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counters, applied = Counters(), list[TimedControl]()
    values = [(CANCEL.to_json(), at_ms) for at_ms in (None, -1, 7)] + [(b"{", 8)]
    records = [
        Record(P0, offset, None, value, [], at_ms) for offset, (value, at_ms) in enumerate(values)
    ]
    with caplog.at_level(logging.WARNING):
        asyncio.run(ControlReader(Controls(records), counters, applied.extend).start())
    assert applied == [(CANCEL, 7)]
    assert counters.unreadable_control_records == 3
    assert "no timestamp" in caplog.text
