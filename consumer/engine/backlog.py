"""Records without an outcome: the effect of time, cancellations and lost partitions on them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import attrgetter

from consumer.engine.admission import Admission
from consumer.engine.bodies.bodies import Bodies
from consumer.engine.calls.calls import Calls
from consumer.engine.calls.key_queues import KeyQueues
from consumer.engine.cancellation import Cancellations
from consumer.engine.failures.isolation import Isolation
from consumer.engine.outcomes.completion import Completion
from consumer.engine.record_state import RecordState
from consumer.engine.replies.replies import Replies
from consumer.engine.schedule import Schedule
from consumer.engine.work import PartitionAssignment, WorkItem
from schemas.wire.control import ControlRecord
from schemas.wire.results import ErrorCode

_SPARE_DEADLINES = 1024
# There may be many: a loop in Python takes four times as long.
_RECEIVED_AT_S = attrgetter("received_at_s")
_TIMESTAMP_MS = attrgetter("record.timestamp_ms")
"""Admitted records have one."""


@dataclass(eq=False, kw_only=True, slots=True)
class Backlog:
    calls: Calls
    isolation: Isolation
    key_queues: KeyQueues
    bodies: Bodies
    cancellations: Cancellations
    deadlines: Schedule[WorkItem]
    admission: Admission
    completion: Completion
    replies: Replies

    @property
    def queued_records(self) -> int:
        return self.calls.waiting_records + self.key_queues.blocked_records

    @property
    def runnable_records(self) -> int:
        """Records that wait or are in flight, without large bodies that move."""
        delayed = len(self.isolation.delayed())
        return self.calls.waiting_records + delayed + self.calls.windows.in_flight_records

    def waiting(self) -> list[WorkItem]:
        waiting = [
            *self.calls.waiting(),
            *self.bodies.moves.requests(),
            *self.replies.look_ups.items(),
            *self.key_queues.blocked(),
        ]
        return [item for item in waiting if not item.is_decided]

    def oldest_s(self, now_s: float) -> float:
        """Return since when the oldest record without an outcome is held; 0 if there is none."""
        return now_s - min(map(_RECEIVED_AT_S, self._held()), default=now_s)

    def ages_s(self, now_s: float, epoch_ms: int) -> tuple[float, float]:
        """Return since when the oldest record without an outcome is held, and the highest age.

        The age is by the records' timestamps; both are 0 if there is none. Goes through all of
        them, so call this about once a second.
        """
        held = self._held()
        received_at_s: float = min(map(_RECEIVED_AT_S, held), default=now_s)
        produced_at_ms: int = min(map(_TIMESTAMP_MS, held), default=epoch_ms)
        return now_s - received_at_s, max(0, epoch_ms - produced_at_ms) / 1000

    def _held(self) -> list[WorkItem]:
        return [*self.waiting(), *self.calls.in_flight_items()]

    def lose(self, assignments: Iterable[PartitionAssignment]) -> None:
        """Drop the waiting records of lost partitions; those in flight are dropped as they end."""
        for assignment in assignments:
            self.completion.drop_blocked(self.key_queues.forget(assignment))
        self._drop([item for item in self.waiting() if item.assignment.revoked])
        self.bodies.moves.note_given_up()

    def drop_waiting(self) -> None:
        self.calls.takes_back = False
        self.completion.drop_blocked(self.key_queues.clear())
        self._drop(self.waiting())
        self.isolation.clear()

    def looked_up(
        self,
        topics: Collection[str],
        missing: Collection[str] | None,
        now_s: float,
        epoch_ms: int,
    ) -> None:
        """Take what a look-up of reply topics found; ``missing`` is ``None`` if it failed."""
        self.replies.looked_up(topics, missing, now_s, epoch_ms)
        if missing:
            # Those that went on meanwhile.
            lost = [item for item in self.waiting() if item.reply_topic in missing]
            self.replies.give_up_missing(lost, now_s, epoch_ms)
            self.isolation.drop_decided()

    def cancel(
        self, controls: Iterable[tuple[ControlRecord, int]], now_s: float, epoch_ms: int
    ) -> int:
        """Cancel the records that control records name; return how many.

        Each control record comes with its timestamp in epoch milliseconds. The caller ends the
        calls that are no longer wanted.
        """
        ours = [self.cancellations.add(control, at_ms) for control, at_ms in controls]
        if not any(ours):
            return 0
        self.cancellations.expire(epoch_ms)
        cancelled = [
            item
            for item in (*self.waiting(), *self.calls.in_flight_items())
            if self.cancellations.covers(item.record, item.custom_id)
        ]
        for item in cancelled:
            self.completion.cancel(item, now_s)
        if cancelled:
            self.isolation.drop_decided()
            self.bodies.moves.note_given_up()
        return len(cancelled)

    def give_up_waiting(self, code: ErrorCode, reason: str, now_s: float, epoch_ms: int) -> None:
        """Dead-letter every record that waits, whatever for."""
        for item in self.waiting():
            self.completion.dead_letter(item, code, reason, now_s, epoch_ms)
        self.isolation.drop_decided()
        self.bodies.moves.note_given_up()

    def advance(self, now_s: float, epoch_ms: int) -> None:
        self.isolation.advance(now_s)
        self.bodies.give_up_overdue(now_s, epoch_ms)
        self.completion.advance_parked(now_s, epoch_ms)
        has_failed_before = False
        for item in self.deadlines.take_due(epoch_ms):
            # In flight, the model replica watches the deadline; `Calls` does when the record comes
            # back.
            if item.state < RecordState.IN_FLIGHT:
                has_failed_before |= item.state is RecordState.RETRYING
                self.completion.expire(item, now_s)
        if has_failed_before:
            # Scans all failed records, which are usually few.
            self.isolation.drop_decided()
        if len(self.deadlines) > 2 * self.admission.held_records + _SPARE_DEADLINES:
            self.deadlines.keep(lambda item: not item.is_decided)
        self.calls.windows.forget_silent(now_s)

    def next_due_in_s(self, now_s: float, epoch_ms: int, *, is_suspended: bool) -> float | None:
        """Return the seconds until ``advance`` has work, if anything is scheduled."""
        waits = []
        if (retry_at_s := self.isolation.next_at_s()) is not None:
            waits.append(retry_at_s - now_s)
        probe_at_s = self.calls.next_probe_at_s()
        waits_for_probe = self.calls.waiting_records and not is_suspended
        # A probe that is due but was not sent waits for something else.
        if probe_at_s is not None and waits_for_probe and probe_at_s > now_s:
            waits.append(probe_at_s - now_s)
        limited_until_s = self.calls.limiter.next_at_s
        if limited_until_s is not None and not is_suspended:
            waits.append(limited_until_s - now_s)
        if (release_at_s := self.completion.parked.next_due_at_s()) is not None:
            waits.append(release_at_s - now_s)
        if (move_at_s := self.bodies.moves.next_due_at_s()) is not None:
            waits.append(move_at_s - now_s)
        if (deadline_ms := self.deadlines.next_at()) is not None:
            waits.append((deadline_ms - epoch_ms) / 1000)
        return max(0.0, min(waits)) if waits else None

    def _drop(self, items: list[WorkItem]) -> None:
        for item in items:
            self.completion.drop(item)
        self.isolation.drop_decided()
