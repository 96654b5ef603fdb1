"""Calls of model replicas: what goes out together, and what comes of it."""

from consumer.engine.calls.attempt_timeout import AttemptTimeout
from consumer.engine.calls.work_queue import Suspicion, WorkQueue, suspicion_of
from consumer.engine.counters import Counters
from consumer.engine.failures.failures import Failure, failure_of_status
from consumer.engine.failures.recovery import Recovery
from consumer.engine.intake import is_expired
from consumer.engine.outcomes.completion import Settlement
from consumer.engine.outcomes.messages import printable
from consumer.engine.settings import EngineSettings
from consumer.engine.work import Call, WorkItem
from handoff.chunk import STATUS_EXPIRED, STATUS_FAILED, STATUS_OK, Chunk, Outcomes
from handoff.dispatch import chunk_records
from handoff.windows import ReplicaWindows
from schemas.wire.results import ErrorCode

_REASONS = {
    Failure.MODEL_ERROR: "the model failed on this request",
    Failure.UNAVAILABLE: "the model had no room for this request",
    Failure.UNRECOVERABLE: "the model failed on this request, and says that it would again",
}

DEADLINE_GRACE_S = 5.0
"""The model replica answers a record whose deadline passes; after this the consumer does."""
_LONGEST_LOOK_S = 10.0
"""More time between two looks for overdue calls is a pause of this process, and nobody's fault."""


class Calls:
    """Fills the replicas' windows from the queue, and puts back what they did not answer.

    Args:
        consumer: Identifies this consumer replica to the model replicas.
        queue: What waits.
        recovery: What happens after a failure.
        settlement: Where answers go.
        settings: Portions.
        counters: What happened, by kind.

    Attributes:
        windows: What the replicas have said that they hold.
        in_flight: Calls under way.
        takes_back: Whether unanswered records are to be tried again here; else they are dropped,
            and left to the next owner.
    """

    def __init__(
        self,
        *,
        consumer: str,
        queue: WorkQueue,
        recovery: Recovery,
        settlement: Settlement,
        settings: EngineSettings,
        counters: Counters,
    ) -> None:
        self._consumer = consumer
        self._queue = queue
        self._recovery = recovery
        self._settlement = settlement
        self._settings = settings
        self._counters = counters
        self.windows = ReplicaWindows(initial_records=settings.most_chunk_records)
        self.in_flight = 0
        self.takes_back = True
        self._sole: Call | None = None
        self._suspect: Call | None = None
        self._under_way: dict[Call, None] = {}
        self._timeout = AttemptTimeout(settings.attempt_timeout_s)
        self._looked_at_s: float | None = None

    @property
    def in_flight_records(self) -> int:
        """Records in calls under way that have no answer."""
        return self.windows.in_flight_records

    def next(self, now_s: float, epoch_ms: int) -> tuple[Call, Chunk] | None:
        """Return the next chunk for a model replica, or ``None`` to wait."""
        breaker = self._recovery.breaker
        while breaker.may_call(now_s, self._probes(now_s) if breaker.is_open else 0):
            suspicion = self._most_suspicion()
            queued = self._queue.available_records(suspicion)
            most = chunk_records(
                queued=queued,
                room_records=self.windows.room_records,
                smallest_window=self.windows.smallest_records,
                most_records=self._settings.most_chunk_records,
                calls_per_window=self._settings.calls_per_window,
            )
            if not most or not self._may_share(self._queue.next_group(suspicion)):
                return None
            wanted_records = self.windows.wanted_records(queued)
            items = [
                item
                for item in self._queue.take(most, now_s, suspicion)
                if not self._is_over(item, now_s, epoch_ms)
            ]
            if items:
                return self._start(items, wanted_records, now_s)
        return None

    def untaken_since_s(self) -> float | None:
        """Return since when the oldest call waits that no model replica has taken, if one does."""
        return min(
            (call.sent_at_s for call in self._under_way if not call.is_accepted), default=None
        )

    def next_probe_at_s(self) -> float | None:
        """Return when a model that is down may be tried again, if that is known."""
        breaker = self._recovery.breaker
        at_s = breaker.next_probe_at_s()
        if at_s is None or not all(call.is_accepted for call in self._under_way):
            return None
        return max((at_s, *(call.heard_at_s + breaker.outlived_s for call in self._under_way)))

    def _probes(self, now_s: float) -> int:
        outlived_s = self._recovery.breaker.outlived_s
        return sum(
            not call.is_accepted or now_s - call.heard_at_s < outlived_s for call in self._under_way
        )

    def _most_suspicion(self) -> Suspicion:
        """Return how much what goes next may be suspected.

        One suspect is tried at a time. A model that is down is tried with what is suspected least
        of all that waits: an answer to it says most, and its failure costs nobody an attempt.
        """
        most = Suspicion.STRONG if self._suspect is None else Suspicion.SOME
        if not self._recovery.breaker.is_open:
            return most
        return next((each for each in Suspicion if self._queue.available_records(each)), most)

    def _may_share(self, group: list[WorkItem] | None) -> bool:
        """Say whether a call may go out beside those in flight, where ``group`` goes next."""
        if not self.in_flight:
            return True
        if self._sole is not None and self._sole.is_reserved:
            return False
        return group is None or not self._recovery.needs_exclusive_call(group)

    def _is_over(self, item: WorkItem, now_s: float, epoch_ms: int) -> bool:
        if not item.settled and is_expired(item.deadline_ms, epoch_ms):
            self._settlement.expire(item, now_s)
        return item.settled

    def _start(
        self, items: list[WorkItem], wanted_records: int, now_s: float
    ) -> tuple[Call, Chunk]:
        for item in items:
            item.attempts += 1
            item.is_in_flight = True
            item.dispatched_at_s = now_s
        self.in_flight += 1
        deadlines: list[int | None] = [item.deadline_ms for item in items]
        chunk = Chunk(
            consumer=self._consumer,
            lines=[item.line for item in items],
            deadlines_ms=deadlines if any(deadlines) else [],
            wanted_records=wanted_records,
            max_body_bytes=self._settings.max_body_bytes,
        )
        if self._sole is not None:
            self._sole.is_exclusive = False
        call = Call(
            items,
            self.windows.sent(len(items)),
            is_exclusive=self.in_flight == 1,
            is_reserved=self._recovery.needs_exclusive_call(items),
        )
        call.sent_at_s = now_s
        self._sole = call if call.is_exclusive else None
        if suspicion_of(items) is Suspicion.STRONG:
            self._suspect = call
        self._under_way[call] = None
        return call, chunk

    def take_outcomes(self, call: Call, outcomes: Outcomes, now_s: float, epoch_ms: int) -> None:
        """Take in outcomes that a model replica streamed back.

        Raises:
            ModelContractError: They are not what ``Outcomes`` promises; nothing was taken in.
        """
        if not call.is_accepted:
            call.is_accepted = True
            call.heard_at_s = now_s
        if not outcomes.replica:
            return
        call.check(outcomes)
        if outcomes.indexes:
            if STATUS_OK in outcomes.statuses:
                self._timeout.learn(now_s - call.heard_at_s, call.earlier_timeouts, now_s)
            call.heard_at_s = now_s
        self.windows.heard(call.in_flight, outcomes.replica, outcomes.window_records, now_s)
        self._counters.measured_records += outcomes.measured_records
        self._counters.measured_tokens += outcomes.measured_tokens
        failed: dict[Failure, list[WorkItem]] = {}
        answered = 0
        has_answers = False
        for index, status, body in zip(
            outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True
        ):
            item = call.answer(index)
            if item is None:
                continue
            answered += 1
            if item.settled:  # cancelled in flight
                continue
            if status >= STATUS_FAILED:
                failed.setdefault(failure_of_status(status), []).append(item)
                continue
            has_answers = True
            if item.assignment.revoked:
                self._settlement.drop(item)
            elif status == STATUS_EXPIRED:
                self._settlement.expire(item, now_s)
            else:
                self._settlement.respond(item, status, body, now_s)
        if has_answers:
            call.has_answers = True
            self._recovery.breaker.answered(now_s)
        self.windows.answered(call.in_flight, answered)
        self._take_failures(call, failed, now_s, epoch_ms)

    def _take_failures(
        self, call: Call, failed: dict[Failure, list[WorkItem]], now_s: float, epoch_ms: int
    ) -> None:
        for failure, items in failed.items():
            call.note_failure(failure, items)
            reason = _REASONS[failure]
            self._fail(
                items, failure, reason, now_s, epoch_ms, is_alone=len(items) == 1, is_cornered=True
            )

    def give_up_overdue(self, now_s: float, epoch_ms: int) -> list[Call]:
        """Give up what has waited too long in calls under way; to be asked every second or so.

        A record is answered as expired where its deadline has passed and its replica does not say
        so. A call that has been silent for too long is marked ``overdue``.

        Returns:
            Calls in which nothing is wanted any more; the caller ends them.
        """
        if self._looked_at_s is not None:
            paused_s = now_s - self._looked_at_s - _LONGEST_LOOK_S
            if paused_s > 0:
                for call in self._under_way:
                    call.heard_at_s += paused_s
        self._looked_at_s = now_s
        expired_ms = epoch_ms - int(DEADLINE_GRACE_S * 1000)
        unwanted = []
        for call in self._under_way:
            expired = call.take_expired(expired_ms)
            for item in expired:
                self._settlement.expire(item, now_s)
            limit_s = self._timeout.limit_s(call.earlier_timeouts)
            if call.overdue is None and call.is_accepted and now_s - call.heard_at_s >= limit_s:
                call.overdue = f"the model replica sent nothing for {limit_s:g} s"
                self._timeout.exceeded()
                unwanted.append(call)
            elif expired and not call.is_wanted():
                unwanted.append(call)
        return unwanted

    def end(self, call: Call, reason: str, now_s: float, epoch_ms: int) -> None:
        """Take note that a call is over; what it left unanswered goes back or is given up.

        Args:
            call: The call.
            reason: Why it ended, to stand on dead letters.
            now_s: Monotonic seconds.
            epoch_ms: Wall clock in milliseconds.
        """
        self.in_flight -= 1
        del self._under_way[call]
        if self._sole is call:
            self._sole = None
        is_cornered = call.is_exclusive or call is self._suspect or call.overdue is not None
        if call is self._suspect:
            self._suspect = None
        left = call.unanswered()
        has_lost = any(item.is_wanted() for item in left)
        breaker = self._recovery.breaker
        if not call.has_answers and (
            has_lost or call.has_fresh_failures or (call.has_failures and breaker.is_open)
        ):
            breaker.call_failed(now_s, now_s - call.heard_at_s if call.is_accepted else 0.0)
        self.windows.ended(call.in_flight, now_s)
        self._fail(
            left,
            Failure.REPLICA_LOST,
            printable(call.overdue or reason),
            now_s,
            epoch_ms,
            # A dying replica takes other calls with it; one that is silent has this one to itself.
            is_alone=call.records == 1 and (call.is_exclusive or call.overdue is not None),
            is_cornered=is_cornered,
            has_timed_out=call.overdue is not None,
        )

    def _fail(
        self,
        items: list[WorkItem],
        failure: Failure,
        reason: str,
        now_s: float,
        epoch_ms: int,
        *,
        is_alone: bool,
        is_cornered: bool,
        has_timed_out: bool = False,
    ) -> None:
        wanted = []
        for item in items:
            item.is_in_flight = False
            if item.settled:
                continue
            if item.assignment.revoked or not self.takes_back:
                self._settlement.drop(item)
            elif not self._is_over(item, now_s, epoch_ms):
                wanted.append(item)
        given_up = self._recovery.take_back(
            wanted,
            failure,
            now_s,
            is_alone=is_alone,
            is_cornered=is_cornered,
            has_timed_out=has_timed_out,
        )
        self._counters.retried_records += len(wanted) - len(given_up)
        for item in wanted:
            item.assignment.ledger.failed(item.record.offset, item.attempts, item.strikes)
        for item in given_up:
            message = f"{reason} (after {item.attempts} attempts)"
            self._settlement.bury(item, ErrorCode.MODEL_FAILED, message, now_s, epoch_ms)
