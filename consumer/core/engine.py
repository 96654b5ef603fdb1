"""The engine: every decision between a record that was read and an offset that is committed.

Synchronous, without I/O and without a clock: ``now_s`` is monotonic seconds, ``epoch_ms`` the wall
clock in milliseconds. One task at a time may call it. A record's way through it::

    deliver ─▶ queue ─▶ next_call ─▶ take_outcomes ─▶ take_publications ─▶ acknowledged ─▶ commit
       │         ▲          └─ end_call ─▶ retry ─┘          ▲
       └─────────┴── outcome known already: dead letter, refusal, expired ──┘
"""

import random
from collections.abc import Iterable, Mapping

from consumer.core.admission import Admission
from consumer.core.cancellation import Cancellations
from consumer.core.claims import (
    STATUS_BAD_REQUEST,
    BodyMoves,
    BodyRefused,
    ClaimCheckPolicy,
    Deposit,
    Deposited,
    Fetch,
    Fetched,
    Measured,
    Move,
    MoveEnd,
    MoveFailed,
    splice_body,
)
from consumer.core.counters import Counters
from consumer.core.dispatch import ReplicaWindows, chunk_records
from consumer.core.engine_settings import EngineSettings
from consumer.core.failures import Failure, failure_of_status
from consumer.core.held_partitions import Allowance, AssignmentChange, HeldPartitions
from consumer.core.intake import Intake, Refused, Request, Tombstone, is_expired
from consumer.core.ledger import Delivery
from consumer.core.ordering import OrderedLanes
from consumer.core.outbox import Outbox, Publication
from consumer.core.outcome_messages import OutcomeMessages, printable
from consumer.core.ports import CommitPoint, Message, Record, SourceError, TopicPartition
from consumer.core.recovery import Recovery
from consumer.core.retry import RetryPolicy
from consumer.core.schedule import Schedule
from consumer.core.transactions import Transaction, Transactions
from consumer.core.work import Call, PartitionAssignment, WorkItem
from consumer.core.work_queue import WorkQueue, is_suspect
from schemas.control import ControlRecord
from schemas.handoff import STATUS_EXPIRED, STATUS_FAILED, Chunk, Outcomes
from schemas.results import ErrorCode, encode_refusal_body

_SPARE_DEADLINES = 1024
_REASONS = {
    Failure.MODEL_ERROR: "the model failed on this request",
    Failure.UNAVAILABLE: "the model had no room for this request",
    Failure.UNRECOVERABLE: "the model failed on this request, and says that it would again",
}
_CANCELLED_MESSAGE = "a control record cancelled the request before its answer was there"
_EXPIRED_MESSAGE = "the deadline in the header headrace-deadline passed before the answer was there"


class Engine:
    """Decides for one consumer replica of one route.

    Args:
        consumer: Identifies this replica to the model replicas.
        intake: Reads records.
        messages: Composes outcomes.
        admission: Bounds what is held.
        retry: What happens after a model replica failed.
        jitter: Randomness of the backoff.
        settings: Portions, order and the room for progress.
        claim_check: What becomes of large bodies; ``None`` where there is no object store.
    """

    def __init__(
        self,
        *,
        consumer: str,
        intake: Intake,
        messages: OutcomeMessages,
        admission: Admission,
        retry: RetryPolicy,
        jitter: random.Random,
        settings: EngineSettings,
        claim_check: ClaimCheckPolicy | None = None,
    ) -> None:
        self._consumer = consumer
        self._intake = intake
        self._messages = messages
        self._admission = admission
        self._settings = settings
        self._held = HeldPartitions(
            settings.metadata_limit_characters, may_repeat=settings.may_repeat
        )
        self._queue = WorkQueue(longest_first=intake.work_field is not None)
        self._windows = ReplicaWindows(initial_records=settings.most_chunk_records)
        self._calls_in_flight = 0
        self._sole_call: Call | None = None
        self._suspect_call: Call | None = None
        self._lanes = OrderedLanes(settings.ordering)
        self._recovery = Recovery(retry, jitter)
        self._claim_check = claim_check
        self.body_moves = BodyMoves(
            admission, retry, jitter, claim_check.give_up_after_s if claim_check else 0.0
        )
        self.cancellations = Cancellations(messages.route)
        self._deadlines: Schedule[WorkItem] = Schedule()
        self._outbox = Outbox()
        self._transactions = Transactions(self._held, self._outbox)
        self._is_suspended = True
        self._takes_records = True
        self.in_flight_records = 0
        self.counters = Counters()

    # --- assignment ---

    def suspend(self) -> None:
        """Stop taking in, dispatching and publishing: the partitions may be about to go.

        Work in flight runs on. Outcomes that are decided already may still be published; what
        finishes from here on could be published by a new owner too, so it waits until ``assign``
        says whose it is.
        """
        self._is_suspended = True
        self._outbox.close(let_out_waiting=True)

    def hold_publications(self) -> None:
        """Publish nothing more until ``assign``."""
        self._outbox.close(let_out_waiting=False)

    def assign(self, committed: Mapping[TopicPartition, CommitPoint | None]) -> AssignmentChange:
        """Take over an assignment, with what the group has committed, and go on."""
        change = self._held.change(committed)
        if change.lost:
            self._lose(change.lost)
        self._is_suspended = False
        self._outbox.open()
        return change

    def _lose(self, assignments: Iterable[PartitionAssignment]) -> None:
        assignments = list(assignments)
        self._drop_held([item for each in assignments for item in self._lanes.forget(each)])
        for item in self._queued_items():
            if item.assignment.revoked:
                self._drop(item)
        self._queue.drop_unwanted()
        for assignment in assignments:
            for publication in self._outbox.remove(assignment):
                self._admission.release(publication.item.held_bytes)

    def stop_intake(self) -> None:
        """Take in and dispatch nothing more: what only waits is left to the next owner."""
        self._takes_records = False
        self._drop_held(self._lanes.clear())
        for item in self._queued_items():
            if not item.settled:
                self._drop(item)
        self._queue.drop_unwanted()
        self._recovery.clear()

    @property
    def partitions(self) -> list[TopicPartition]:
        """The partitions held now."""
        return [assignment.partition for assignment in self._held]

    @property
    def queued_records(self) -> int:
        """Records that wait for a model replica, or for an earlier record of their lane."""
        return self._queue.records + self._lanes.held_records

    @property
    def held_records(self) -> int:
        """Records taken in that have no acknowledged outcome yet."""
        return self._admission.held_records

    @property
    def held_bytes(self) -> int:
        """Bytes of those records and of their unacknowledged results."""
        return self._admission.held_bytes

    @property
    def model_replicas(self) -> list[str]:
        """Names of the model replicas seen lately."""
        return self._windows.replicas

    # --- intake ---

    def allowance(self) -> Allowance:
        """Return what may be polled now."""
        records = 0
        if self._takes_records and not self._is_suspended:
            records = self._admission.allowance_records()
        if not records:
            return Allowance([], 0, is_restricted=True)
        return self._held.readable(records)

    def deliver(
        self, records: Iterable[Record], now_s: float, epoch_ms: int
    ) -> dict[TopicPartition, int]:
        """Take in records that were polled.

        Returns:
            Where to seek back to, for partitions that have no room for all of theirs.

        Raises:
            SourceError: The log went backwards: what is read now is not what was read before.
        """
        rewinds: dict[TopicPartition, int] = {}
        if self._is_suspended or not self._takes_records:
            return rewinds
        for record in records:
            assignment = self._held.get(record.partition)
            if assignment is None or record.partition in rewinds:
                continue
            delivery = assignment.ledger.deliver(record.offset)
            if delivery is Delivery.ADMITTED:
                self._admit(assignment, record, now_s, epoch_ms)
            elif delivery is Delivery.NO_ROOM:
                rewinds[record.partition] = record.offset
            elif delivery is Delivery.BEHIND:
                raise SourceError(
                    f"{record.partition}: offset {record.offset} came after higher ones were read: "
                    "the topic was created again or lost records; the consumer starts afresh from "
                    "what is committed"
                )
            else:
                self.counters.already_done_records += 1
        return rewinds

    def pass_over(self, positions: Mapping[TopicPartition, int]) -> None:
        """Take note how far the log has been read, records or none."""
        if self._is_suspended or not self._takes_records:
            return
        for partition, position in positions.items():
            assignment = self._held.get(partition)
            if assignment is not None:
                assignment.ledger.pass_over(position)

    def _admit(
        self, assignment: PartitionAssignment, record: Record, now_s: float, epoch_ms: int
    ) -> None:
        read = self._intake.read(record)
        self.counters.received_records += 1
        if isinstance(read, Tombstone):
            self.counters.skipped_records += 1
            assignment.ledger.complete(record.offset)
            return
        held_bytes = len(record.value or b"") + len(record.key or b"")
        self._admission.admit(held_bytes)
        if isinstance(read, Request):
            item = WorkItem(assignment, record, read.custom_id, read.deadline_ms, now_s, held_bytes)
            item.work = read.work
            self._enter(item)
            if self.cancellations.covers(record, read.custom_id):
                self._cancel(item, now_s)
                return
            if is_expired(read.deadline_ms, epoch_ms):
                self._expire(item, now_s)
                return
            if read.deadline_ms is not None:
                self._deadlines.add(read.deadline_ms, item)
            if read.reference is not None:
                size_bytes = read.reference.size_bytes
                self.body_moves.add(Fetch(item, read.url, read.reference, size_bytes))
                return
            self._enqueue(item)
        elif isinstance(read, Refused):
            item = WorkItem(assignment, record, read.custom_id, None, now_s, held_bytes)
            self._enter(item)
            self._respond(item, read.status_code, read.body, now_s)
        else:
            item = WorkItem(assignment, record, None, None, now_s, held_bytes)
            self._enter(item)
            self._bury(item, read.code, read.message, now_s, epoch_ms)

    def _enter(self, item: WorkItem) -> None:
        failures = item.assignment.ledger.failures_of(item.record.offset)
        if failures is not None:
            item.attempts, item.strikes = failures.attempts, failures.strikes
        self._lanes.enter(item)

    def _enqueue(self, item: WorkItem) -> None:
        item.is_ready = True
        if item.is_held:
            return
        if item.strikes:  # in earlier owners' hands; its neighbours are not to suffer for it
            self._queue.add_group([item])
        else:
            self._queue.add(item)

    # --- dispatch ---

    def next_call(self, now_s: float, epoch_ms: int) -> tuple[Call, Chunk] | None:
        """Return the next chunk for a model replica, or ``None`` to wait."""
        while not self._is_suspended and self._recovery.breaker.may_call(
            now_s, self._calls_in_flight
        ):
            suspects = self._suspect_call is None
            most = chunk_records(
                queued=self._queue.available_records(suspects=suspects),
                in_flight=self.in_flight_records,
                window_records=self._windows.records,
                smallest_window=self._windows.smallest_records,
                most_records=self._settings.most_chunk_records,
                calls_per_window=self._settings.calls_per_window,
            )
            if not most or not self._may_share(self._queue.next_group(suspects=suspects)):
                return None
            items = [
                item
                for item in self._queue.take(most, now_s, suspects=suspects)
                if not self._is_over(item, now_s, epoch_ms)
            ]
            if items:
                return self._start_call(items, now_s)
        return None

    def _may_share(self, group: list[WorkItem] | None) -> bool:
        """Say whether a call may go out beside those in flight, where ``group`` goes next."""
        if not self._calls_in_flight:
            return True
        if self._sole_call is not None and self._sole_call.is_reserved:
            return False
        return group is None or not self._recovery.needs_exclusive_call(group)

    def _is_over(self, item: WorkItem, now_s: float, epoch_ms: int) -> bool:
        if not item.settled and is_expired(item.deadline_ms, epoch_ms):
            self._expire(item, now_s)
        return item.settled

    def _start_call(self, items: list[WorkItem], now_s: float) -> tuple[Call, Chunk]:
        for item in items:
            item.attempts += 1
            item.dispatched_at_s = now_s
        self.in_flight_records += len(items)
        self._calls_in_flight += 1
        deadlines: list[int | None] = [item.deadline_ms for item in items]
        chunk = Chunk(
            consumer=self._consumer,
            lines=[item.line for item in items],
            deadlines_ms=deadlines if any(deadlines) else [],
        )
        if self._sole_call is not None:
            self._sole_call.is_exclusive = False
        call = Call(
            items,
            is_exclusive=self._calls_in_flight == 1,
            is_reserved=self._recovery.needs_exclusive_call(items),
        )
        self._sole_call = call if call.is_exclusive else None
        if is_suspect(items):
            self._suspect_call = call
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
        self._windows.learn(outcomes.replica, outcomes.window_records, now_s)
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
                self._drop(item)
            elif status == STATUS_EXPIRED:
                self._expire(item, now_s)
            else:
                self._respond(item, status, body, now_s)
        for failure, items in failed.items():
            call.note_failure(failure, items)
            reason = _REASONS[failure]
            self._fail(
                items, failure, reason, now_s, epoch_ms, is_alone=len(items) == 1, is_cornered=True
            )

    def end_call(self, call: Call, reason: str, now_s: float, epoch_ms: int) -> None:
        """Take note that a call is over; what it left unanswered goes back or is given up.

        Args:
            call: The call.
            reason: Why it ended, to stand on dead letters.
            now_s: Monotonic seconds.
            epoch_ms: Wall clock in milliseconds.
        """
        self._calls_in_flight -= 1
        if self._sole_call is call:
            self._sole_call = None
        is_cornered = call.is_exclusive or call is self._suspect_call
        if call is self._suspect_call:
            self._suspect_call = None
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
            if item.assignment.revoked or not self._takes_records:
                self._drop(item)
            else:
                wanted.append(item)
        given_up = self._recovery.take_back(
            wanted, failure, now_s, is_alone=is_alone, is_cornered=is_cornered
        )
        self.counters.retried_records += len(wanted) - len(given_up)
        for item in wanted:
            item.assignment.ledger.failed(item.record.offset, item.attempts, item.strikes)
        for item in given_up:
            message = f"{reason} (after {item.attempts} attempts)"
            self._bury(item, ErrorCode.MODEL_FAILED, message, now_s, epoch_ms)

    def cancel(
        self,
        controls: Iterable[tuple[ControlRecord, int]],
        calls: Iterable[Call],
        now_s: float,
        epoch_ms: int,
    ) -> int:
        """Take in control records, and settle what they name, be it queued or in flight.

        Args:
            controls: Each with its timestamp in epoch milliseconds.
            calls: Those under way; the caller ends the ones that are not wanted any more.
            now_s: Monotonic seconds.
            epoch_ms: Wall clock in milliseconds.

        Returns:
            How many records were cancelled.
        """
        ours = [self.cancellations.add(control, at_ms) for control, at_ms in controls]
        if not any(ours):
            return 0
        self.cancellations.expire(epoch_ms)
        in_flight = [item for call in calls for item in call.waiting() if item.is_wanted()]
        cancelled = [
            item
            for item in (*self._queued_items(), *in_flight)
            if self.cancellations.covers(item.record, item.custom_id)
        ]
        for item in cancelled:
            self._cancel(item, now_s)
        if cancelled:
            self._queue.drop_unwanted()
        return len(cancelled)

    # --- large bodies ---

    def end_move(self, move: Move, end: MoveEnd, now_s: float, epoch_ms: int) -> None:
        """Take note how a move of ``body_moves`` ended."""
        self.body_moves.ended(move)
        item = move.item
        if not move.is_wanted:
            if isinstance(move, Deposit):
                self._drop(item)
            return
        match end:
            case Deposited(reference) if isinstance(move, Deposit):
                self._grow(item, -len(move.body))
                self._settle(
                    item,
                    self._messages.stored(
                        item, item.custom_id or "", move.status_code, reference, now_s
                    ),
                )
            case Measured(size_bytes) if isinstance(move, Fetch):
                move.size_bytes = size_bytes
                self.body_moves.add(move)
            case Fetched(body) if isinstance(move, Fetch):
                self._take_body(item, move.url, body, now_s)
            case BodyRefused(status, code, message):
                self._respond(item, status, encode_refusal_body(message, code, "body_ref"), now_s)
            case MoveFailed(reason) if not self.body_moves.try_again(move, now_s):
                if isinstance(move, Deposit):
                    self._grow(item, -len(move.body))
                self._bury(item, ErrorCode.STORE_FAILED, printable(reason), now_s, epoch_ms)

    def _take_body(self, item: WorkItem, url: str, body: bytes, now_s: float) -> None:
        line = splice_body(item.custom_id or "", url, body)
        if line is None:
            message = "body_ref.url: the object is not one JSON object"
            refusal = encode_refusal_body(message, "reference_refused", "body_ref")
            self._respond(item, STATUS_BAD_REQUEST, refusal, now_s)
            return
        item.fetched_line = line
        self._grow(item, len(line))
        self.body_moves.holds(item)
        self._enqueue(item)

    def _deposit(self, item: WorkItem, status: int, body: bytes) -> None:
        # Decided, so that neither a deadline nor a cancellation decides it again.
        item.settled = True
        self._grow(item, len(body))
        self.body_moves.add(Deposit(item, status, body))

    def _grow(self, item: WorkItem, size_bytes: int) -> None:
        item.held_bytes += size_bytes
        self._admission.grow(size_bytes)

    # --- time ---

    def advance(self, now_s: float, epoch_ms: int) -> None:
        """Do what time brings: retries come due, deadlines of waiting records pass."""
        for group in self._recovery.take_due(now_s):
            self._queue.add_group(group)
        expired = False
        for item in self._deadlines.take_due(epoch_ms):
            # In flight the model replica holds the deadline; back in the queue `next_call` does.
            if not item.settled and item.attempts == 0:
                self._expire(item, now_s)
                expired = True
        if expired:
            self._queue.drop_unwanted()
        if len(self._deadlines) > 2 * self.held_records + _SPARE_DEADLINES:
            self._deadlines.keep(lambda item: not item.settled)
        self._windows.forget_silent(now_s)

    def next_due_in_s(self, now_s: float, epoch_ms: int) -> float | None:
        """Return in how many seconds ``advance`` has something to do, if anything is scheduled."""
        waits = []
        if (retry_at_s := self._recovery.next_at_s()) is not None:
            waits.append(retry_at_s - now_s)
        probe_at_s = self._recovery.breaker.next_probe_at_s()
        waits_for_probe = self._queue.records and not self._calls_in_flight
        if probe_at_s is not None and waits_for_probe and not self._is_suspended:
            waits.append(probe_at_s - now_s)
        if (deadline_ms := self._deadlines.next_at()) is not None:
            waits.append((deadline_ms - epoch_ms) / 1000)
        return max(0.0, min(waits)) if waits else None

    # --- outcomes ---

    def _respond(self, item: WorkItem, status: int, body: bytes, now_s: float) -> None:
        if status >= 400:
            self.counters.refused_records += 1
        else:
            self.counters.answered_records += 1
        if self._claim_check is not None and self._claim_check.takes(item, status, body):
            self._deposit(item, status, body)
            return
        messages = self._messages.response(item, item.custom_id or "", status, body, now_s)
        self._settle(item, messages)

    def _cancel(self, item: WorkItem, now_s: float) -> None:
        self.counters.cancelled_records += 1
        self._end_with_error(item, ErrorCode.REQUEST_CANCELLED, _CANCELLED_MESSAGE, now_s)

    def _expire(self, item: WorkItem, now_s: float) -> None:
        self.counters.expired_records += 1
        self._end_with_error(item, ErrorCode.REQUEST_EXPIRED, _EXPIRED_MESSAGE, now_s)

    def _end_with_error(self, item: WorkItem, code: ErrorCode, message: str, now_s: float) -> None:
        error = self._messages.error(item, item.custom_id or "", code, message, now_s)
        self._settle(item, [error])

    def _bury(
        self, item: WorkItem, code: ErrorCode, message: str, now_s: float, epoch_ms: int
    ) -> None:
        self.counters.dead_letter_records += 1
        self._settle(item, self._messages.dead_letter(item, code, message, now_s, epoch_ms))

    def _settle(self, item: WorkItem, messages: list[Message]) -> None:
        item.settled = True
        result_bytes = 0
        for message in messages:  # a generator here costs a third of the whole method
            result_bytes += len(message.value or b"")
        item.held_bytes += result_bytes
        self._admission.grow(result_bytes)
        if item.is_held:
            item.deferred = messages
        else:
            self._outbox.add(Publication(item, messages))

    def _release_next(self, finished: WorkItem) -> None:
        """Let go on what waited for ``finished`` in its lane."""
        item = self._lanes.leave(finished)
        if item is None:
            return
        if item.deferred is not None:
            self._outbox.add(Publication(item, item.deferred))
        elif item.is_ready and not item.settled:
            self._enqueue(item)

    def _drop_held(self, items: Iterable[WorkItem]) -> None:
        for item in items:
            # Whose result is on its way to the object store is dropped when it has arrived.
            if not item.settled or item.deferred is not None:
                self._drop(item)

    def _drop(self, item: WorkItem) -> None:
        item.settled = True
        self._admission.release(item.held_bytes)

    def _queued_items(self) -> list[WorkItem]:
        waiting = self._queue.waiting() + self._recovery.waiting() + self.body_moves.requests()
        waiting += (item for item in self._lanes.held() if item.is_ready)
        return [item for item in waiting if not item.settled]

    # --- publishing and committing ---

    @property
    def has_publications(self) -> bool:
        """Whether outcomes wait to be published and may be."""
        return self._outbox.has_publishable

    def take_publications(self, most_records: int, most_bytes: int) -> list[Publication]:
        """Take the next outcomes to publish; none of partitions that were lost."""
        taken: list[Publication] = []
        size_bytes = 0
        while (
            self._outbox.has_publishable and len(taken) < most_records and size_bytes < most_bytes
        ):
            publication = self._outbox.take()
            if publication.item.assignment.revoked:
                self._admission.release(publication.item.held_bytes)
                continue
            size_bytes += publication.item.held_bytes
            taken.append(publication)
        return taken

    def acknowledged(self, publications: Iterable[Publication]) -> None:
        """Take note that the broker has acknowledged all messages of these outcomes."""
        for publication in publications:
            item = publication.item
            item.assignment.ledger.complete(item.record.offset)
            self._release_next(item)
            self._admission.release(item.held_bytes)
            self.counters.completed_records += 1

    def rejected(self, publication: Publication, reasons: Mapping[int, str], now_s: float) -> bool:
        """Put smaller messages in the place of those that the broker will never take.

        Args:
            publication: The outcome; its other messages are acknowledged.
            reasons: Why, by index of the message in the publication.
            now_s: Monotonic seconds.

        Returns:
            False where a substitute itself was refused: nothing more can be done for the record.
        """
        if publication.substituted:
            return False
        publication.substituted = True
        publication.messages = [
            self._messages.substitute(publication.item, publication.messages[index], reason, now_s)
            for index, reason in reasons.items()
        ]
        self._outbox.add(publication)
        return True

    def partitions_due(self, *, even_without_outcomes: bool) -> list[TopicPartition]:
        """Return the partitions for which ``begin_transaction`` has something.

        Args:
            even_without_outcomes: Count also those where only records were skipped.
        """
        return self._transactions.partitions_due(even_without_outcomes=even_without_outcomes)

    def begin_transaction(
        self, partition: TopicPartition, most_records: int, most_bytes: int
    ) -> Transaction | None:
        """Form the next transaction of one of ``partitions_due``; see ``Transactions.begin``."""
        return self._transactions.begin(partition, most_records, most_bytes)

    def transaction_committed(self, transaction: Transaction) -> None:
        """Take note that a transaction's outcomes are published and its point is committed."""
        self.acknowledged(transaction.publications)
        self._transactions.committed(transaction)

    def transaction_refused(
        self, transaction: Transaction, reasons: Mapping[int, Mapping[int, str]], now_s: float
    ) -> bool:
        """Put smaller messages in the place of those that the broker will never take.

        Args:
            transaction: Nothing of it was published; its outcomes wait again.
            reasons: Why, by position of the publication and index of the message in it.
            now_s: Monotonic seconds.

        Returns:
            False where a substitute itself was refused.
        """
        self._transactions.came_to_nothing(transaction)
        if transaction.assignment.revoked:
            self._lose([transaction.assignment])
            return True
        for position, of_message in reasons.items():
            publication = transaction.publications[position]
            if publication.substituted:
                return False
            publication.substituted = True
            for index, reason in of_message.items():
                refused = publication.messages[index]
                publication.messages[index] = self._messages.substitute(
                    publication.item, refused, reason, now_s
                )
        return True

    def transaction_fenced(self, transaction: Transaction) -> None:
        """Take note that the partition is another member's; ``assign`` will say so too."""
        self._transactions.came_to_nothing(transaction)
        self._held.drop(transaction.assignment)
        self._lose([transaction.assignment])

    def has_commit_points(self) -> bool:
        """Say whether there is anything to commit."""
        return self._held.has_commit_points()

    def commit_points(self) -> dict[TopicPartition, CommitPoint]:
        """Return what there is to commit; pass it to ``committed`` once it is acknowledged."""
        return self._held.commit_points()

    def committed(self, points: Mapping[TopicPartition, CommitPoint]) -> None:
        """Take note that ``points`` are committed and acknowledged."""
        self._held.committed(points)
