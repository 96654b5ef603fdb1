"""The engine: every decision between a record that was read and an offset that is committed.

Synchronous, without I/O and without a clock: ``now_s`` is monotonic seconds, ``epoch_ms`` the wall
clock in milliseconds. One task at a time may call it. A record's way through it::

    deliver ─▶ queue ─▶ next_call ─▶ take_outcomes ─▶ take_publications ─▶ acknowledged ─▶ commit
       │         ▲          └─ end_call ─▶ retry ─┘          ▲
       └─────────┴── outcome known already: dead letter, refusal, expired ──┘
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace

from consumer.engine.admission import Admission
from consumer.engine.bodies.claims import (
    ClaimCheckPolicy,
    Fetch,
    Move,
    MoveEnd,
)
from consumer.engine.bodies.large_bodies import LargeBodies
from consumer.engine.bodies.moves import BodyMoves
from consumer.engine.calls.calls import Calls
from consumer.engine.calls.ordering import OrderedLanes
from consumer.engine.calls.work_queue import WorkQueue
from consumer.engine.cancellation import Cancellations
from consumer.engine.counters import Counters
from consumer.engine.failures.recovery import Recovery
from consumer.engine.failures.retry import RetryPolicy
from consumer.engine.intake import (
    MOST_ENDS,
    Intake,
    Refused,
    Request,
    Tombstone,
    give_up,
    is_expired,
)
from consumer.engine.offsets.assigned_partitions import Allowance, AssignmentChange, HeldPartitions
from consumer.engine.offsets.ledger import Delivery
from consumer.engine.outcomes.completion import Settlement
from consumer.engine.outcomes.messages import OutcomeMessages
from consumer.engine.outcomes.outbox import Outbox
from consumer.engine.outcomes.transactions import Transaction, Transactions
from consumer.engine.schedule import Schedule
from consumer.engine.settings import EngineSettings, LiveSettings
from consumer.engine.standing.standing import Standing
from consumer.engine.work import Call, PartitionAssignment, WorkItem
from consumer.ports import (
    CommitPoint,
    ReadingNotes,
    Record,
    Rejection,
    SourceError,
    TopicPartition,
)
from handoff.chunk import Chunk, Outcomes
from schemas.wire.control import ControlRecord

_SPARE_DEADLINES = 1024
REBALANCING = "the group is rebalancing: reading goes on when each of its members has joined again"


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
        notes: Tell of records that end the consumer, if anybody keeps them.
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
        notes: ReadingNotes | None = None,
    ) -> None:
        self._intake = intake
        self._messages = messages
        self._claim_check = claim_check
        self._retry = retry
        self._settings = settings
        self._notes = notes
        self._admission = admission
        self._held = HeldPartitions(
            settings.metadata_limit_characters, may_repeat=settings.may_repeat
        )
        self._queue = WorkQueue(longest_first=intake.work_field is not None)
        self._ordering = settings.ordering
        self._lanes = OrderedLanes(settings.ordering)
        self._recovery = Recovery(retry, jitter)
        self.body_moves = BodyMoves(
            admission, retry, jitter, claim_check.give_up_after_s if claim_check else 0.0
        )
        self.cancellations = Cancellations(messages.route)
        self._deadlines: Schedule[WorkItem] = Schedule()
        self._outbox = Outbox()
        self._transactions = Transactions(self._held, self._outbox)
        self.counters = Counters()
        self._settlement = Settlement(
            messages=messages,
            admission=admission,
            lanes=self._lanes,
            queue=self._queue,
            outbox=self._outbox,
            body_moves=self.body_moves,
            claim_check=claim_check,
            counters=self.counters,
        )
        self._calls = Calls(
            consumer=consumer,
            queue=self._queue,
            recovery=self._recovery,
            settlement=self._settlement,
            settings=settings,
            counters=self.counters,
        )
        self._bodies = LargeBodies(self.body_moves, self._queue, self._settlement, messages)
        self._standing = Standing(
            held=self._held,
            admission=admission,
            calls=self._calls,
            recovery=self._recovery,
            body_moves=self.body_moves,
            counters=self.counters,
        )
        self._is_suspended = True
        self._suspension = "waits for the group: it has handed out no partitions yet"
        self._takes_records = True
        self._has_ended = False

    def reconfigure(self, live: LiveSettings) -> None:
        """Go on with other settings; records that were taken in keep the outcome that they have."""
        self._admission.max_records = live.max_records
        self._admission.max_bytes = live.max_bytes
        self._settings.most_chunk_records = live.most_chunk_records
        self._settings.max_body_bytes = live.max_body_bytes
        self._intake = replace(self._intake, max_request_bytes=live.max_request_bytes)
        self._messages.max_result_bytes = live.max_result_bytes
        self._messages.fail_with_result = live.fail_with_result
        if self._claim_check is not None:
            self._claim_check.over_bytes = live.over_bytes
        for field in fields(RetryPolicy):
            setattr(self._retry, field.name, getattr(live.retry, field.name))

    # --- assignment ---

    def suspend(self, reason: str = REBALANCING) -> None:
        """Stop taking in, dispatching and publishing: the partitions may be about to go.

        Work in flight runs on. Outcomes that are decided already may still be published; what
        finishes from here on could be published by a new owner too, so it waits until ``assign``
        says whose it is.

        Args:
            reason: A line on what is waited for; see ``waits``.
        """
        if not self._is_suspended:
            self._suspension = reason
        self._is_suspended = True
        self._outbox.close()

    def hold_publications(self) -> None:
        """Publish nothing more until ``assign``."""
        self._outbox.hold()

    def assign(
        self,
        committed: Mapping[TopicPartition, CommitPoint | None],
        log_ids: Mapping[TopicPartition, bytes] | None = None,
    ) -> AssignmentChange:
        """Take over an assignment, with what the group has committed, and go on.

        Args:
            committed: Of every partition assigned now.
            log_ids: Identifies the partitions' logs, where that is known.
        """
        if self._has_ended:
            return AssignmentChange()
        change = self._held.change(committed, log_ids or {})
        if change.lost:
            self._lose(change.lost)
        self._is_suspended = False
        self._outbox.open()
        return change

    def _lose(self, assignments: Iterable[PartitionAssignment]) -> None:
        assignments = list(assignments)
        self._settlement.drop_held(
            [item for each in assignments for item in self._lanes.forget(each)]
        )
        for item in self._queued_items():
            if item.assignment.revoked:
                self._settlement.drop(item)
        self._queue.drop_unwanted()
        for assignment in assignments:
            self.withdrawn(self._outbox.remove(assignment))

    def stop_intake(self) -> None:
        """Take in and dispatch nothing more: what only waits is left to the next owner."""
        self._takes_records = False
        self._calls.takes_back = False
        self._settlement.drop_held(self._lanes.clear())
        for item in self._queued_items():
            if not item.settled:
                self._settlement.drop(item)
        self._queue.drop_unwanted()
        self._recovery.clear()

    def end(self) -> None:
        """Take in, dispatch, publish and commit nothing more, for good.

        Something has failed, and with it what this engine knows may be wrong: its offsets may be
        those of another log, its partitions another member's. Only flags change, as the engine
        itself may be what failed.
        """
        self._has_ended = True
        self._is_suspended = True
        self._takes_records = False
        self._calls.takes_back = False
        self._outbox.hold()

    @property
    def partitions(self) -> list[TopicPartition]:
        """The partitions held now."""
        return [assignment.partition for assignment in self._held]

    @property
    def queued_records(self) -> int:
        """Records that wait for a model replica, or for an earlier record of their lane."""
        return self._queue.records + self._lanes.held_records

    @property
    def runnable_records(self) -> int | None:
        """Records at work or ready to be; ``None`` on a route without order, where all are."""
        if self._ordering == "none":
            return None
        waiting = len(self._recovery.waiting())
        return self._queue.records + waiting + self.in_flight_records

    @property
    def reads_on(self) -> bool:
        """Whether more records would be taken in than are held."""
        return self._admission.allowance_records() > 0

    @property
    def held_records(self) -> int:
        """Records taken in that have no acknowledged outcome yet."""
        return self._admission.held_records

    @property
    def held_bytes(self) -> int:
        """Bytes of those records and of their unacknowledged results."""
        return self._admission.held_bytes

    @property
    def in_flight_records(self) -> int:
        """Records in calls under way that have no answer yet."""
        return self._calls.in_flight_records

    @property
    def model_replicas(self) -> list[str]:
        """Names of the model replicas seen lately."""
        return self._calls.windows.replicas

    # --- standing still ---

    def standing(self) -> tuple[int, ...]:
        """Return numbers that change whenever a record is read or gets on."""
        return self._standing.numbers()

    def neglected(self) -> str | None:
        """Return what waits here with nothing in its way, for a person, if anything does."""
        if self._is_suspended or not self._takes_records:
            return None
        return self._standing.neglected((*self._queued_items(), *self._lanes.held()))

    def waits(self, now_s: float) -> list[str]:
        """Return what is waited for now, a line each; see ``consumer.engine.standing.waits``."""
        if self._has_ended or not self._takes_records:
            return []
        suspension = [self._suspension] if self._is_suspended else []
        return [*suspension, *self._standing.waits(self.queued_records, now_s)]

    def readable_offsets(self) -> dict[TopicPartition, int]:
        """Return the next offset of each partition that may be read now, where it is known."""
        offsets = {}
        for partition in self.allowance().partitions:
            assignment = self._held.get(partition)
            if assignment is not None and assignment.ledger.next_offset is not None:
                offsets[partition] = assignment.ledger.next_offset
        return offsets

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
                if self._notes is None:
                    self._admit(assignment, record, now_s, epoch_ms)
                else:
                    ends = self._notes.begin(record)
                    self._admit(assignment, record, now_s, epoch_ms, ends)
                    self._notes.end(record)
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

    def expire(self, log_starts: Mapping[TopicPartition, int]) -> None:
        """Take note that retention has deleted records before they were read, and count them.

        Args:
            log_starts: Where the logs of such partitions begin now.
        """
        if self._is_suspended or not self._takes_records:
            return
        for partition, log_start in log_starts.items():
            assignment = self._held.get(partition)
            if assignment is not None:
                self.counters.lost_to_retention_records += assignment.ledger.expire(log_start)

    def pass_over(self, positions: Mapping[TopicPartition, int]) -> None:
        """Take note how far the log has been read, records or none."""
        if self._is_suspended or not self._takes_records:
            return
        for partition, position in positions.items():
            assignment = self._held.get(partition)
            if assignment is not None:
                assignment.ledger.pass_over(position)

    def _admit(
        self,
        assignment: PartitionAssignment,
        record: Record,
        now_s: float,
        epoch_ms: int,
        ends: int = 0,
    ) -> None:
        if record.timestamp_ms is None or record.timestamp_ms < 0:
            # What is cancelled from now on is cancelled, and no earlier cancellation meant it.
            record = record._replace(timestamp_ms=epoch_ms)
        read = self._intake.read(record) if ends < MOST_ENDS else give_up(record, ends)
        self.counters.received_records += 1
        if isinstance(read, Tombstone):
            self.counters.skipped_records += 1
            assignment.ledger.complete(record.offset)
            return
        held_bytes = record.size_bytes()
        self._admission.admit(held_bytes)
        if isinstance(read, Request):
            item = WorkItem(assignment, record, read.custom_id, read.deadline_ms, now_s, held_bytes)
            item.work = read.work
            if read.line is not None:
                item.fetched_line = read.line
                self._settlement.grow(item, len(read.line))
            self._enter(item)
            if self.cancellations.covers(record, read.custom_id):
                self._settlement.cancel(item, now_s)
                return
            if is_expired(read.deadline_ms, epoch_ms):
                self._settlement.expire(item, now_s)
                return
            if read.deadline_ms is not None:
                self._deadlines.add(read.deadline_ms, item)
            if read.reference is not None:
                size_bytes = read.reference.size_bytes
                self.body_moves.add(Fetch(item, read.url, read.reference, size_bytes))
                return
            self._queue.make_ready(item)
        elif isinstance(read, Refused):
            item = WorkItem(assignment, record, read.custom_id, None, now_s, held_bytes)
            self._enter(item)
            self._settlement.respond(item, read.status_code, read.body, now_s)
        else:
            item = WorkItem(assignment, record, read.custom_id, None, now_s, held_bytes)
            self._enter(item)
            self._settlement.bury(item, read.code, read.message, now_s, epoch_ms)

    def _enter(self, item: WorkItem) -> None:
        failures = item.assignment.ledger.failures_of(item.record.offset)
        if failures is not None:
            item.attempts, item.strikes = failures.attempts, failures.strikes
        self._lanes.enter(item)

    # --- calls ---

    def next_call(self, now_s: float, epoch_ms: int) -> tuple[Call, Chunk] | None:
        """Return the next chunk for a model replica, or ``None`` to wait."""
        return None if self._is_suspended else self._calls.next(now_s, epoch_ms)

    def take_outcomes(self, call: Call, outcomes: Outcomes, now_s: float, epoch_ms: int) -> None:
        """Take in outcomes that a model replica streamed back.

        Raises:
            ModelContractError: They are not what ``Outcomes`` promises; nothing was taken in.
        """
        self._calls.take_outcomes(call, outcomes, now_s, epoch_ms)

    def end_call(self, call: Call, reason: str, now_s: float, epoch_ms: int) -> None:
        """Take note that a call is over; see ``Calls.end``."""
        self._calls.end(call, reason, now_s, epoch_ms)

    def give_up_overdue(self, now_s: float, epoch_ms: int) -> list[Call]:
        """Give up what takes too long; see ``Calls.give_up_overdue``."""
        return self._calls.give_up_overdue(now_s, epoch_ms)

    def end_move(self, move: Move, end: MoveEnd, now_s: float, epoch_ms: int) -> None:
        """Take note how a move of ``body_moves`` ended."""
        self._bodies.end_move(move, end, now_s, epoch_ms)

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
            self._settlement.cancel(item, now_s)
        if cancelled:
            self._queue.drop_unwanted()
        return len(cancelled)

    # --- time ---

    def advance(self, now_s: float, epoch_ms: int) -> None:
        """Do what time brings: retries come due, deadlines of waiting records pass."""
        for group in self._recovery.take_due(now_s):
            self._queue.add_group(group)
        self._bodies.give_up_overdue(now_s, epoch_ms)
        is_left_over = False
        for item in self._deadlines.take_due(epoch_ms):
            # In flight the model replica holds the deadline; `Calls` does when it comes back.
            if not item.settled and not item.is_in_flight:
                self._settlement.expire(item, now_s)
                # Looking through all that waits is for the few that failed before.
                is_left_over |= not self._queue.forget(item) and item.attempts > 0
        if is_left_over:
            self._queue.drop_unwanted()
        if len(self._deadlines) > 2 * self.held_records + _SPARE_DEADLINES:
            self._deadlines.keep(lambda item: not item.settled)
        self._calls.windows.forget_silent(now_s)

    def next_due_in_s(self, now_s: float, epoch_ms: int) -> float | None:
        """Return in how many seconds ``advance`` has something to do, if anything is scheduled."""
        waits = []
        if (retry_at_s := self._recovery.next_at_s()) is not None:
            waits.append(retry_at_s - now_s)
        probe_at_s = self._calls.next_probe_at_s()
        waits_for_probe = self._queue.records and not self._is_suspended
        # Where its time has come and no call went out, something else is in the way.
        if probe_at_s is not None and waits_for_probe and probe_at_s > now_s:
            waits.append(probe_at_s - now_s)
        if (judgement_at_s := self.body_moves.next_judgement_at_s()) is not None:
            waits.append(judgement_at_s - now_s)
        if (deadline_ms := self._deadlines.next_at()) is not None:
            waits.append((deadline_ms - epoch_ms) / 1000)
        return max(0.0, min(waits)) if waits else None

    def _queued_items(self) -> list[WorkItem]:
        waiting = self._queue.waiting() + self._recovery.waiting() + self.body_moves.requests()
        waiting += (item for item in self._lanes.held() if item.is_ready)
        return [item for item in waiting if not item.settled]

    # --- publishing and committing ---

    @property
    def has_publications(self) -> bool:
        """Whether outcomes wait to be published and may be."""
        return self._outbox.has_publishable

    def take_publications(self, most_records: int, most_bytes: int) -> list[WorkItem]:
        """Take the next outcomes to publish; none of partitions that were lost."""
        return self._settlement.take_publications(most_records, most_bytes)

    def acknowledged(self, items: Iterable[WorkItem]) -> None:
        """The broker has acknowledged all messages of these outcomes."""
        self._settlement.acknowledged(items)

    def withdrawn(self, items: Iterable[WorkItem]) -> None:
        """Let go of outcomes of lost partitions; they may have been published, or in part."""
        for item in items:
            self._settlement.let_go(item)

    def rejected(
        self, item: WorkItem, rejections: Sequence[Rejection], now_s: float, epoch_ms: int
    ) -> bool:
        """Replace refused messages of an outcome; see ``Settlement.rejected``."""
        return self._settlement.rejected(item, rejections, now_s, epoch_ms)

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
        self.acknowledged(transaction.items)
        self._transactions.committed(transaction)

    def transaction_refused(
        self,
        transaction: Transaction,
        rejections: Iterable[Rejection],
        now_s: float,
        epoch_ms: int,
    ) -> bool:
        """Replace messages that the broker will never take.

        Args:
            transaction: Nothing of it was published; its outcomes wait again.
            rejections: Of its messages.
            now_s: Monotonic seconds.
            epoch_ms: Wall clock in milliseconds.

        Returns:
            False where the topic takes no dead letter of any record.
        """
        self._transactions.came_to_nothing(transaction)
        if transaction.assignment.revoked:
            self._lose([transaction.assignment])
            return True
        return self._settlement.substitute(rejections, now_s, epoch_ms)

    def transaction_fenced(self, transaction: Transaction) -> bool:
        """Take note that the partition is another member's; ``assign`` will say so too.

        Returns:
            Whether the partition stays unread unless the group rebalances. Not where it was let go
            before, nor in the middle of a rebalance: ``assign`` starts it afresh if it is ours.
        """
        self._transactions.came_to_nothing(transaction)
        was_held = self._held.drop(transaction.assignment)
        self._lose([transaction.assignment])
        return was_held and not self._is_suspended

    def has_commit_points(self) -> bool:
        """Say whether there is anything to commit."""
        return not self._has_ended and self._held.has_commit_points()

    def commit_points(self) -> dict[TopicPartition, CommitPoint]:
        """Return what there is to commit; pass it to ``committed`` once it is acknowledged."""
        return {} if self._has_ended else self._held.commit_points()

    def committed(self, points: Mapping[TopicPartition, CommitPoint]) -> None:
        """Take note that ``points`` are committed and acknowledged."""
        self._held.committed(points)
