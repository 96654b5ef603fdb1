"""Logs what a consumer goes through: once a second, so that no record costs a line."""

import asyncio
import logging

from consumer.engine.engine import Engine
from consumer.engine.happenings import DEAD_LETTERED, REPLACED, SUSPECTED, Happening
from consumer.engine.offsets.assigned_partitions import AssignmentChange
from consumer.engine.waiting.waits import subject
from consumer.engine.work import Call
from consumer.loop.publishing import Publishing
from consumer.ports import RecordSource
from handoff.clock import Clock

log = logging.getLogger(__name__)

EVERY_S = 1.0
LONG_S = 30.0
"""A shorter wait is ordinary: a rebalance, a full consumer, a leader that moves."""

_TEXTS = {
    DEAD_LETTERED: "%d records dead-lettered (%s); the first: %s/%d offset %d, after %d attempts",
    SUSPECTED: "%d records failed twice (%s) and go one by one now; the first: %s/%d offset %d, "
    "after %d attempts",
    REPLACED: "%d results were refused by their topic (%s), and replaced; the first: %s/%d offset "
    "%d, after %d attempts",
}


class EventLog:
    """Compares the engine with what it was a second ago, and logs what has changed."""

    def __init__(
        self, engine: Engine, source: RecordSource, publishing: Publishing, clock: Clock
    ) -> None:
        self._engine = engine
        self._source = source
        self._publishing = publishing
        self._clock = clock
        self._has_defect = False
        self._breaker_open_since_s: float | None = None
        self._waits_since_s: dict[str, float] = {}
        self._long_waits: set[str] = set()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            self.look()

    def look(self) -> None:
        """Log what is new; what fails here never ends the consumer."""
        try:
            self._look()
        except Exception as error:
            level = logging.DEBUG if self._has_defect else logging.WARNING
            self._has_defect = True
            log.log(
                level,
                "what the consumer goes through is not logged: %r",
                error,
                exc_info=error,
                extra={"event": "observing_failed", "error_class": type(error).__name__},
            )

    def _look(self) -> None:
        now_s = self._clock.monotonic()
        for each in self._engine.happenings.take():
            _log_happening(each)
        self._look_at_breaker(now_s)
        self._look_at_waits(now_s)

    def _look_at_breaker(self, now_s: float) -> None:
        is_open = self._engine.calls.is_breaker_open
        if is_open and self._breaker_open_since_s is None:
            self._breaker_open_since_s = now_s
            log.warning(
                "the model is given a rest: its calls fail one after the other; one is tried now "
                "and then",
                extra={"event": "breaker_opened"},
            )
        elif not is_open and self._breaker_open_since_s is not None:
            open_s = now_s - self._breaker_open_since_s
            self._breaker_open_since_s = None
            log.info(
                "the model answers again after %.0f s",
                open_s,
                extra={"event": "breaker_closed", "duration_s": round(open_s, 1)},
            )

    def _look_at_waits(self, now_s: float) -> None:
        lines = [
            *self._engine.waits(now_s),
            *self._source.waits(),
            *self._publishing.waits(),
        ]
        by_subject = {subject(line): line for line in lines}
        before, self._waits_since_s = self._waits_since_s, {}
        for about, line in by_subject.items():
            since_s = self._waits_since_s[about] = before.get(about, now_s)
            if now_s - since_s >= LONG_S and about not in self._long_waits:
                self._long_waits.add(about)
                log.warning(
                    "waits for %.0f s already: %s",
                    now_s - since_s,
                    line,
                    extra={"event": "waiting", "subject": about},
                )
        for about in self._long_waits - by_subject.keys():
            self._long_waits.discard(about)
            waited_s = now_s - before.get(about, now_s)
            log.info(
                "goes on after %.0f s; it waited: %s",
                waited_s,
                about,
                extra={
                    "event": "waiting_ended",
                    "subject": about,
                    "duration_s": round(waited_s, 1),
                },
            )


def _log_happening(happening: Happening) -> None:
    log.warning(
        _TEXTS[happening.event],
        happening.records,
        happening.code,
        happening.topic,
        happening.partition,
        happening.offset,
        happening.attempts,
        extra={
            "event": happening.event,
            "code": happening.code,
            "records": happening.records,
            "topic": happening.topic,
            "partition": happening.partition,
            "offset": happening.offset,
            "custom_id": happening.custom_id,
            "job": happening.job,
            "attempts": happening.attempts,
        },
    )


def log_assignment(change: AssignmentChange) -> None:
    log.info(
        "assignment: %d partitions kept, %d fresh, %d lost",
        len(change.kept),
        len(change.fresh),
        len(change.lost),
        extra={
            "event": "partitions_assigned",
            "kept": len(change.kept),
            "fresh": len(change.fresh),
            "lost": len(change.lost),
        },
    )
    for partition, reason in change.unreadable.items():
        log.warning(
            "%s: the committed completion map was ignored, records above the committed offset may "
            "be repeated: %s",
            partition,
            reason,
            extra={"event": "completion_map_ignored", **partition._asdict()},
        )


def log_revocation(engine: Engine) -> None:
    log.info(
        "the group rebalances: publishing and committing what is decided of %d partitions",
        len(engine.partitions),
        extra={
            "event": "partitions_revoked",
            "partitions": len(engine.partitions),
            "in_flight_records": engine.in_flight_records,
        },
    )


def log_failed_call(call: Call, error: Exception) -> None:
    # Not the error's text: a model's may quote the records.
    error_class = type(error.__cause__ or error).__name__
    log.warning(
        "a call of %d records failed: %s",
        call.records,
        error_class,
        extra={
            "event": "call_failed",
            "call": call.number,
            "records": call.records,
            "error_class": error_class,
        },
    )
