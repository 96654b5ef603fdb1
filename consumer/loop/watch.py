"""Watches for lost sessions, calls that hang, a consumer that stalls, and the ends of logs."""

import asyncio
import logging
from collections.abc import Callable

from consumer.engine.engine import Engine
from consumer.engine.waiting.stall import StallWatch
from consumer.ports import RecordSource
from handoff.clock import Clock

log = logging.getLogger(__name__)

_CALLS_EVERY_S = 1.0
_STALL_EVERY_S = 30.0
_LOG_ENDS_EVERY_S = 5.0
_LOOKS_PER_SESSION = 4


class StalledError(Exception):
    """The consumer stalls; a new one may not."""


class SessionWatch:
    """Joins the group again after a time in which it may have given this member up.

    A new owner may then publish what was in flight, so nothing is published until the group has
    confirmed our partitions. No rejoin once ``is_leaving`` is set.
    """

    def __init__(
        self, engine: Engine, source: RecordSource, clock: Clock, session_timeout_s: float
    ) -> None:
        self.is_leaving = False
        self._engine = engine
        self._source = source
        self._clock = clock
        self._session_timeout_s = session_timeout_s
        self._looked_at_s: float | None = None

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(self._session_timeout_s / _LOOKS_PER_SESSION)
            self.look()

    def look(self) -> None:
        """Check whether this process stood still, or the group has not heard of it."""
        now_s = self._clock.monotonic()
        paused_s = 0.0 if self._looked_at_s is None else now_s - self._looked_at_s
        self._looked_at_s = now_s
        unheard_s = self._source.unheard_s() or 0.0
        if max(paused_s, unheard_s) <= self._session_timeout_s or self.is_leaving:
            return
        if paused_s > self._session_timeout_s:
            what, silent_s = "this process stood still", paused_s
        else:
            what, silent_s = "the group's coordinator has not answered our heartbeats", unheard_s
        log.warning(
            "%s for %.1f s, longer than a session: joining the group again before anything more "
            "is published",
            what,
            silent_s,
            extra={
                "event": "group_joined_again",
                "reason": "session_lost",
                "silent_s": round(silent_s, 1),
            },
        )
        self._engine.suspend(f"the group may have given this consumer up: {what}; it joins again")
        self._engine.hold_publications()
        self._source.rejoin()


class Watch:
    """Gives up calls that take too long, and this consumer if it stalls."""

    def __init__(
        self, engine: Engine, source: RecordSource, clock: Clock, end_calls: Callable[[], None]
    ) -> None:
        self._has_defect = False
        self._engine = engine
        self._source = source
        self._clock = clock
        self._end_calls = end_calls
        self._stall = StallWatch()

    async def watch_calls(self) -> None:
        while True:
            await asyncio.sleep(_CALLS_EVERY_S)
            now_s, epoch_ms = self._clock.monotonic(), self._clock.epoch_ms()
            for call in self._engine.calls.give_up_overdue(now_s, epoch_ms):
                if call.overdue is not None:
                    log.warning(
                        "a call of %d records is given up: %s",
                        call.records,
                        call.overdue,
                        extra={
                            "event": "call_overdue",
                            "call": call.number,
                            "records": call.records,
                        },
                    )
            self._end_calls()

    async def watch_for_stall(self) -> None:
        """Raise ``StalledError``, which says what waits, once the consumer stalls."""
        while True:
            await asyncio.sleep(_STALL_EVERY_S)
            if self._has_moved():
                continue
            waiting = self._engine.neglected() or await self._unread()
            if self._has_moved():  # meanwhile
                continue
            stall = self._stall.judge(waiting, self._clock.monotonic())
            if stall is not None:
                raise StalledError(f"the consumer stands still: {stall}; it is to be replaced")

    async def watch_log_ends(self) -> None:
        while True:
            await asyncio.sleep(_LOG_ENDS_EVERY_S)
            try:
                ends = await self._source.latest_log_ends(
                    self._engine.partitions, _LOG_ENDS_EVERY_S
                )
                self._engine.log_ends.note(ends, self._clock.monotonic())
            except Exception as error:
                level = logging.DEBUG if self._has_defect else logging.WARNING
                self._has_defect = True
                log.log(
                    level,
                    "the ends of logs are not known: %r",
                    error,
                    exc_info=error,
                    extra={"event": "observing_failed", "error_class": type(error).__name__},
                )

    def _has_moved(self) -> bool:
        return self._stall.has_moved(self._engine.standing(), self._clock.monotonic())

    async def _unread(self) -> str | None:
        next_offsets = self._engine.readable_offsets()
        ends = await self._source.log_ends(next_offsets)
        for partition, next_offset in next_offsets.items():
            unread = ends.get(partition, next_offset) - next_offset
            if unread > 0:
                return (
                    f"{unread} offsets of {partition.topic}/{partition.partition} are to be read, "
                    f"from {next_offset} on"
                )
        return None
