"""Calls of model replicas: which records go out together, and how a call ends."""

from consumer.engine.calls.attempt_timeout import AttemptTimeout
from consumer.engine.calls.rate_limit import RateLimiter
from consumer.engine.calls.work_queue import WorkQueue
from consumer.engine.counters import Counters
from consumer.engine.failures.isolation import Cause, Isolation
from consumer.engine.failures.retry import Failure, failure_of_status
from consumer.engine.intake import is_expired
from consumer.engine.outcomes.completion import Completion
from consumer.engine.outcomes.messages import printable
from consumer.engine.record_state import RecordState, Step, states_after
from consumer.engine.settings import EngineSettings
from consumer.engine.timings import Timings
from consumer.engine.tracing.traces import Traces
from consumer.engine.work import Call, WorkItem
from handoff.chunk import STATUS_EXPIRED, STATUS_FAILED, STATUS_OK, Chunk, Outcomes
from handoff.dispatch import chunk_records
from handoff.windows import ReplicaWindows
from schemas.wire.results import ErrorCode

_REASONS = {
    Failure.MODEL_ERROR: "the model failed on this request",
    Failure.REPLICA_LOST: "the replica of a model that this one calls was lost",
    Failure.UNAVAILABLE: "the model had no room for this request",
    Failure.UNRECOVERABLE: "the model failed on this request, and says that it would again",
}

DEADLINE_GRACE_S = 5.0
"""The model replica answers a record whose deadline passes; after this time the consumer does."""
_LONGEST_LOOK_S = 10.0
"""A longer time between two checks for overdue calls is a pause of this process."""
# Needed for each record; a look-up on the class costs 0.1 µs more.
_IN_FLIGHT = RecordState.IN_FLIGHT
_AFTER_DISPATCH = states_after(Step.DISPATCH)


class Calls:
    """Fills the replicas' windows; unanswered records are called again if ``takes_back``.

    ``limiter`` keeps the route's limit on its rate.

    Attributes:
        has_unwanted: A replica has named itself that is to let go of records: call ``let_go``.
    """

    def __init__(
        self,
        *,
        consumer: str,
        queue: WorkQueue,
        isolation: Isolation,
        completion: Completion,
        settings: EngineSettings,
        counters: Counters,
        timings: Timings,
        traces: Traces | None = None,
    ) -> None:
        self._traces = traces
        self._consumer = consumer
        self._queue = queue
        self._isolation = isolation
        self._completion = completion
        self._settings = settings
        self._counters = counters
        self._timings = timings
        self.windows = ReplicaWindows(initial_records=settings.most_chunk_records)
        self.takes_back = True
        self._under_way: dict[int, Call] = {}
        self._last_number = 0
        self.has_unwanted = False
        self.limiter = RateLimiter(settings.rate_limits, counters)
        self._timeout = AttemptTimeout(settings.attempt_timeout_s)
        self._looked_at_s: float | None = None

    @property
    def in_flight(self) -> int:
        return len(self._under_way)

    @property
    def is_breaker_open(self) -> bool:
        return self._isolation.breaker.is_open

    @property
    def waiting_records(self) -> int:
        return len(self._queue) + self._isolation.ready_records()

    @property
    def waiting_jobs(self) -> int:
        return self._queue.jobs

    def waiting(self) -> list[WorkItem]:
        return [*self._queue.waiting(), *self._isolation.waiting()]

    def in_flight_items(self) -> list[WorkItem]:
        return [
            item for call in self._under_way.values() for item in call.waiting() if item.is_wanted()
        ]

    def next(self, now_s: float, epoch_ms: int) -> tuple[Call, Chunk] | None:
        isolation = self._isolation
        breaker = isolation.breaker
        limiter = self.limiter
        if limiter.is_on:
            limiter.ask_anew()
        while breaker.may_call(now_s, self._probes(now_s) if breaker.is_open else 0):
            suspicion = isolation.most_suspicion(len(self._queue))
            group = isolation.next_group(suspicion)
            queued = len(self._queue) + isolation.ready_records(suspicion)
            most = chunk_records(
                queued=queued,
                room_records=self.windows.room_records,
                smallest_window=self.windows.smallest_records,
                most_records=self._settings.most_chunk_records,
            )
            if not most or not isolation.may_start(group, self.in_flight):
                return None
            if limiter.is_on:
                wanted = most if group is None else len(group)
                most = limiter.room_records(wanted, now_s, is_whole=group is not None)
                if not most:
                    return None
            if group is None:
                taken = self._queue.take(most, now_s)
            else:
                taken = group
                isolation.take(group)
                self._queue.charge_again(group)
            items = [item for item in taken if not self._is_over(item, now_s, epoch_ms)]
            if items:
                return self._start(items, self.windows.wanted_records(queued), now_s)
        return None

    def untaken_since_s(self) -> float | None:
        return min(
            (call.sent_at_s for call in self._under_way.values() if not call.is_accepted),
            default=None,
        )

    def next_probe_at_s(self) -> float | None:
        breaker = self._isolation.breaker
        at_s = breaker.next_probe_at_s()
        if at_s is None or not all(call.is_accepted for call in self._under_way.values()):
            return None
        calls = self._under_way.values()
        return max((at_s, *(call.heard_at_s + breaker.outlived_s for call in calls)))

    def _probes(self, now_s: float) -> int:
        outlived_s = self._isolation.breaker.outlived_s
        return sum(
            not call.is_accepted or now_s - call.heard_at_s < outlived_s
            for call in self._under_way.values()
        )

    def _is_over(self, item: WorkItem, now_s: float, epoch_ms: int) -> bool:
        if not item.is_decided and is_expired(item.deadline_ms, epoch_ms):
            self._completion.expire(item, now_s)
        return item.is_decided

    def _start(
        self, items: list[WorkItem], wanted_records: int, now_s: float
    ) -> tuple[Call, Chunk]:
        self._timings.dispatched(items, now_s)
        for item in items:
            item.state = _AFTER_DISPATCH[item.state]
            item.attempts += 1
            item.dispatched_at_s = now_s
        deadlines: list[int | None] = [item.deadline_ms for item in items]
        chunk = Chunk(
            consumer=self._consumer,
            lines=[item.line for item in items],
            deadlines_ms=deadlines if any(deadlines) else [],
            wanted_records=wanted_records,
            max_body_bytes=self._settings.max_body_bytes,
            call=self._last_number + 1,
            traces=None if self._traces is None else self._traces.sent(items, now_s),
        )
        self._last_number = chunk.call
        call = Call(chunk.call, items, self.windows.sent(len(items)))
        call.sent_at_s = now_s
        self._under_way[call.number] = call
        if self.limiter.is_on:
            self.limiter.take(call.number, len(items))
        self._isolation.started(call, items, self.in_flight)
        return call, chunk

    def take_outcomes(self, call: Call, outcomes: Outcomes, now_s: float, epoch_ms: int) -> None:
        """Handle a model replica's outcomes; on ``ModelContractError`` none of them counts."""
        if not call.is_accepted:
            call.is_accepted = True
            call.heard_at_s = now_s
        if not outcomes.replica:
            return
        carried = [
            (self._under_way[number], each)
            for number, each in outcomes.others.items()
            if number in self._under_way
        ]
        for one, each in ((call, outcomes), *carried):
            one.check(each)
        if self._traces is not None:
            self._traces.answered([(call, outcomes), *carried], now_s)
        call.elsewhere += outcomes.elsewhere
        self._take(call, outcomes, now_s, epoch_ms)
        for other, each in carried:
            if not other.is_accepted:
                # Its own first item may come later than this.
                other.is_accepted, other.heard_at_s = True, now_s
            other.elsewhere -= len(each.indexes)
            self._take(other, each, now_s, epoch_ms)

    def _take(self, call: Call, outcomes: Outcomes, now_s: float, epoch_ms: int) -> None:
        if outcomes.indexes:
            if STATUS_OK in outcomes.statuses:
                self._timeout.learn(now_s - call.heard_at_s, call.earlier_timeouts, now_s)
            call.heard_at_s = now_s
        call.note_work(outcomes, now_s)
        if call.in_flight.replica is None and call.unwanted():
            self.has_unwanted = True
        self.windows.heard(call.in_flight, outcomes.replica, outcomes.window_records, now_s)
        self.limiter.heard(call.number, outcomes)
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
            if item.state is not _IN_FLIGHT:  # cancelled meanwhile
                continue
            if item.assignment.revoked:
                has_answers = has_answers or status < STATUS_FAILED
                self._completion.drop(item)
                continue
            if status >= STATUS_FAILED:
                failed.setdefault(failure_of_status(status), []).append(item)
                continue
            has_answers = True
            if status == STATUS_EXPIRED:
                self._completion.expire(item, now_s)
            else:
                self._completion.respond(item, status, body, now_s)
        if has_answers:
            call.has_answers = True
            self._isolation.breaker.answered(now_s)
        self.windows.answered(call.in_flight, answered)
        self._timings.model.observe(now_s - call.sent_at_s, answered)
        self._take_failures(call, failed, now_s, epoch_ms)

    def _take_failures(
        self, call: Call, failed: dict[Failure, list[WorkItem]], now_s: float, epoch_ms: int
    ) -> None:
        for failure, items in failed.items():
            if call.overdue is not None and failure is Failure.UNAVAILABLE:
                # The replica let go of them, as it was told to.
                call.note_failure(failure, items)
                self._fail(
                    items,
                    Failure.REPLICA_LOST,
                    self._isolation.cause_of_loss(call),
                    printable(call.overdue),
                    now_s,
                    epoch_ms,
                    has_timed_out=True,
                )
                continue
            cause = Cause.THIS_RECORD if len(items) == 1 else Cause.AMONG_THESE
            if failure is Failure.REPLICA_LOST:
                # As a lost call, which may say that the model is down.
                cause = self._isolation.cause_of_loss(call)
                self._isolation.breaker.call_failed(now_s)
            else:
                call.note_failure(failure, items)
            self._fail(items, failure, cause, _REASONS[failure], now_s, epoch_ms)

    def let_go(self, now_s: float) -> tuple[dict[int, list[int]], list[Call]]:
        """Decide what the replicas are to let go of; call this when records may be unwanted.

        Returns the records to cancel, as positions by the number of their call, and the calls to
        close: those that no replica has taken, or that should have ended. A call, and one that is
        overdue too, is not closed at once, because it may be carrying outcomes of other calls.
        """
        self.has_unwanted = False
        cancelled: dict[int, list[int]] = {}
        closed = []
        for call in self._under_way.values():
            is_wanted = call.is_wanted()
            if not (is_wanted or call.is_accepted):
                closed.append(call)
                continue
            unwanted = call.unwanted()
            if not unwanted:
                continue
            if not is_wanted:
                call.cancellation.begin(now_s)
            if call.in_flight.replica is not None and (
                due := call.cancellation.take_due(unwanted, now_s)
            ):
                cancelled[call.number] = due
            if not is_wanted and call.cancellation.is_overdue(now_s):
                closed.append(call)
        return cancelled, closed

    def give_up_overdue(self, now_s: float, epoch_ms: int) -> list[Call]:
        """Give up overdue records and calls; call this about every second, and ``let_go`` after it.

        A record whose deadline has passed without an answer of its replica is answered as expired.
        A call that has been silent for too long is marked ``overdue``. Returns the calls in which
        no outcome is wanted any more.
        """
        if self._looked_at_s is not None:
            paused_s = now_s - self._looked_at_s - _LONGEST_LOOK_S
            if paused_s > 0:
                for call in self._under_way.values():
                    call.heard_at_s += paused_s
                    call.working_at_s += paused_s
        self._looked_at_s = now_s
        expired_ms = epoch_ms - int(DEADLINE_GRACE_S * 1000)
        unwanted = []
        for call in self._under_way.values():
            expired = call.take_expired(expired_ms)
            for item in expired:
                self._completion.expire(item, now_s)
            limit_s = self._timeout.limit_s(call.earlier_timeouts)
            silent_s = now_s - self._timeout.silent_since_s(call.heard_at_s, call.working_at_s)
            if call.overdue is None and call.is_accepted and silent_s >= limit_s:
                call.overdue = f"the model replica sent nothing for {limit_s:g} s"
                self._timeout.exceeded()
                unwanted.append(call)
            elif expired and not call.is_wanted():
                unwanted.append(call)
        return unwanted

    def end(self, call: Call, reason: str, now_s: float, epoch_ms: int) -> None:
        del self._under_way[call.number]
        self.limiter.ended(call.number)
        cause = self._isolation.ended(call)
        left = call.unanswered()
        has_lost = any(item.is_wanted() for item in left)
        breaker = self._isolation.breaker
        if not call.has_answers and (
            has_lost or call.has_fresh_failures or (call.has_failures and breaker.is_open)
        ):
            breaker.call_failed(now_s, now_s - call.heard_at_s if call.is_accepted else 0.0)
        self.windows.ended(call.in_flight, now_s)
        self._fail(
            left,
            Failure.REPLICA_LOST,
            cause,
            printable(call.overdue or reason),
            now_s,
            epoch_ms,
            has_timed_out=call.overdue is not None,
        )

    def _fail(
        self,
        items: list[WorkItem],
        failure: Failure,
        cause: Cause,
        reason: str,
        now_s: float,
        epoch_ms: int,
        *,
        has_timed_out: bool = False,
    ) -> None:
        if self._traces is not None:
            self._traces.failed(items, reason, now_s)
        failed = []
        for item in items:
            if item.is_decided:
                continue
            if item.assignment.revoked or not self.takes_back:
                self._completion.drop(item)
            elif not self._is_over(item, now_s, epoch_ms):
                failed.append(item)
        given_up = self._isolation.take_back(
            failed, failure, cause, now_s, has_timed_out=has_timed_out
        )
        self._counters.retried_records += len(failed) - len(given_up)
        for item in failed:
            item.assignment.ledger.failed(item.record.offset, item.attempts, item.failed_attempts)
        for item in given_up:
            message = f"{reason} (after {item.attempts} attempts)"
            self._completion.dead_letter(item, ErrorCode.MODEL_FAILED, message, now_s, epoch_ms)
