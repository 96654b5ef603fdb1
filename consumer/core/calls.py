"""Calls of model replicas: what goes out together, and what comes of it."""

from consumer.core.counters import Counters
from consumer.core.dispatch import ReplicaWindows, chunk_records
from consumer.core.engine_settings import EngineSettings
from consumer.core.failures import Failure, failure_of_status
from consumer.core.intake import is_expired
from consumer.core.outcome_messages import printable
from consumer.core.recovery import Recovery
from consumer.core.settlement import Settlement
from consumer.core.work import Call, WorkItem
from consumer.core.work_queue import Suspicion, WorkQueue, suspicion_of
from schemas.handoff import STATUS_EXPIRED, STATUS_FAILED, Chunk, Outcomes
from schemas.results import ErrorCode

_REASONS = {
    Failure.MODEL_ERROR: "the model failed on this request",
    Failure.UNAVAILABLE: "the model had no room for this request",
    Failure.UNRECOVERABLE: "the model failed on this request, and says that it would again",
}


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
        in_flight_records: Records in them without an answer.
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
        self.in_flight_records = 0
        self.takes_back = True
        self._sole: Call | None = None
        self._suspect: Call | None = None

    def next(self, now_s: float, epoch_ms: int) -> tuple[Call, Chunk] | None:
        """Return the next chunk for a model replica, or ``None`` to wait."""
        while self._recovery.breaker.may_call(now_s, self.in_flight):
            suspicion = self._most_suspicion()
            most = chunk_records(
                queued=self._queue.available_records(suspicion),
                in_flight=self.in_flight_records,
                window_records=self.windows.records,
                smallest_window=self.windows.smallest_records,
                most_records=self._settings.most_chunk_records,
                calls_per_window=self._settings.calls_per_window,
            )
            if not most or not self._may_share(self._queue.next_group(suspicion)):
                return None
            items = [
                item
                for item in self._queue.take(most, now_s, suspicion)
                if not self._is_over(item, now_s, epoch_ms)
            ]
            if items:
                return self._start(items, now_s)
        return None

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

    def _start(self, items: list[WorkItem], now_s: float) -> tuple[Call, Chunk]:
        for item in items:
            item.attempts += 1
            item.dispatched_at_s = now_s
        self.in_flight_records += len(items)
        self.in_flight += 1
        deadlines: list[int | None] = [item.deadline_ms for item in items]
        chunk = Chunk(
            consumer=self._consumer,
            lines=[item.line for item in items],
            deadlines_ms=deadlines if any(deadlines) else [],
            max_body_bytes=self._settings.max_body_bytes,
        )
        if self._sole is not None:
            self._sole.is_exclusive = False
        call = Call(
            items,
            is_exclusive=self.in_flight == 1,
            is_reserved=self._recovery.needs_exclusive_call(items),
        )
        self._sole = call if call.is_exclusive else None
        if suspicion_of(items) is Suspicion.STRONG:
            self._suspect = call
        return call, chunk

    def take_outcomes(self, call: Call, outcomes: Outcomes, now_s: float, epoch_ms: int) -> None:
        """Take in outcomes that a model replica streamed back.

        Raises:
            ModelContractError: They are not what ``Outcomes`` promises; nothing was taken in.
        """
        call.is_accepted = True
        if not outcomes.replica:
            return
        call.check(outcomes)
        self.windows.learn(outcomes.replica, outcomes.window_records, now_s)
        self._counters.measured_records += outcomes.measured_records
        self._counters.measured_tokens += outcomes.measured_tokens
        failed: dict[Failure, list[WorkItem]] = {}
        for index, status, body in zip(
            outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True
        ):
            item = call.answer(index)
            if item is None:
                continue
            self.in_flight_records -= 1
            if item.settled:  # cancelled in flight
                continue
            if status >= STATUS_FAILED:
                failed.setdefault(failure_of_status(status), []).append(item)
                continue
            call.has_answers = True
            self._recovery.breaker.answered(now_s)
            if item.assignment.revoked:
                self._settlement.drop(item)
            elif status == STATUS_EXPIRED:
                self._settlement.expire(item, now_s)
            else:
                self._settlement.respond(item, status, body, now_s)
        for failure, items in failed.items():
            call.note_failure(failure, items)
            reason = _REASONS[failure]
            self._fail(
                items, failure, reason, now_s, epoch_ms, is_alone=len(items) == 1, is_cornered=True
            )

    def end(self, call: Call, reason: str, now_s: float, epoch_ms: int) -> None:
        """Take note that a call is over; what it left unanswered goes back or is given up.

        Args:
            call: The call.
            reason: Why it ended, to stand on dead letters.
            now_s: Monotonic seconds.
            epoch_ms: Wall clock in milliseconds.
        """
        self.in_flight -= 1
        if self._sole is call:
            self._sole = None
        is_cornered = call.is_exclusive or call is self._suspect
        if call is self._suspect:
            self._suspect = None
        left = call.unanswered()
        has_lost = any(item.is_wanted() for item in left)
        breaker = self._recovery.breaker
        if not call.has_answers and (
            has_lost or call.has_fresh_failures or (call.has_failures and breaker.is_open)
        ):
            breaker.call_failed(now_s)
        self.in_flight_records -= len(left)
        self._fail(
            left,
            Failure.REPLICA_LOST,
            printable(reason),
            now_s,
            epoch_ms,
            is_alone=call.is_exclusive and call.records == 1,
            is_cornered=is_cornered,
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
    ) -> None:
        wanted = []
        for item in items:
            if item.settled:
                continue
            if item.assignment.revoked or not self.takes_back:
                self._settlement.drop(item)
            else:
                wanted.append(item)
        given_up = self._recovery.take_back(
            wanted, failure, now_s, is_alone=is_alone, is_cornered=is_cornered
        )
        self._counters.retried_records += len(wanted) - len(given_up)
        for item in wanted:
            item.assignment.ledger.failed(item.record.offset, item.attempts, item.strikes)
        for item in given_up:
            message = f"{reason} (after {item.attempts} attempts)"
            self._settlement.bury(item, ErrorCode.MODEL_FAILED, message, now_s, epoch_ms)
