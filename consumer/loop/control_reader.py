"""Reads the cancellations of a route's control topic."""

import logging
from collections.abc import Callable

from consumer.engine.counters import Counters
from consumer.ports import ControlSource, Record
from schemas.wire.control import ControlRecord, UnreadableControlError, parse_control_record

log = logging.getLogger(__name__)

_POLL_S = 0.5

TimedControl = tuple[ControlRecord, int]
"""A control record and its timestamp in epoch milliseconds."""


class ControlReader:
    """Follows a control topic from its start; calls ``apply`` with its records, in order."""

    def __init__(
        self,
        source: ControlSource,
        counters: Counters,
        apply: Callable[[list[TimedControl]], None],
    ) -> None:
        self._source = source
        self._counters = counters
        self._apply = apply

    async def start(self) -> None:
        """Connect, and return when all records are applied; ``SourceError`` says what to check."""
        await self._source.start()
        try:
            while not self._source.is_caught_up:
                await self._read()
        except BaseException:
            await self._source.stop()
            raise

    async def run(self) -> None:
        while True:
            await self._read()

    async def stop(self) -> None:
        await self._source.stop()

    async def _read(self) -> None:
        records = await self._source.poll(_POLL_S)
        controls = [control for control in map(self._parse, records) if control is not None]
        if controls:
            self._apply(controls)

    def _parse(self, record: Record) -> TimedControl | None:
        try:
            return parse_control_record(record.value), _time_of(record)
        except UnreadableControlError as error:
            self._counters.unreadable_control_records += 1
            log.warning(
                "control record %s offset %d is skipped: %s",
                record.partition,
                record.offset,
                error,
                extra={
                    "event": "control_record_skipped",
                    "offset": record.offset,
                    **record.partition._asdict(),
                },
            )
            return None


def _time_of(record: Record) -> int:
    if record.timestamp_ms is None or record.timestamp_ms < 0:
        # With the time of reading it would cancel, at each reading, all requests since.
        raise UnreadableControlError(
            "it has no timestamp, so nobody knows which requests it means; publish it with one, as "
            "`headrace cancel` does"
        )
    return record.timestamp_ms
