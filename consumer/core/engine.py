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
from consumer.core.counters import Counters
from consumer.core.dispatch import ReplicaWindows, chunk_records
from consumer.core.held_partitions import Allowance, AssignmentChange, HeldPartitions
from consumer.core.intake import Intake, Refused, Request, Tombstone, is_expired
from consumer.core.ledger import Delivery
from consumer.core.outbox import Outbox, Publication
from consumer.core.outcome_messages import OutcomeMessages, printable
from consumer.core.ports import CommitPoint, Message, Record, SourceError, TopicPartition
from consumer.core.recovery import Recovery
from consumer.core.retry import RetryPolicy
from consumer.core.schedule import Schedule
from consumer.core.work import Call, PartitionAssignment, WorkItem
from consumer.core.work_queue import WorkQueue
from schemas.handoff import STATUS_EXPIRED, STATUS_FAILED, Chunk, Outcomes
from schemas.results import ErrorCode

_SPARE_DEADLINES = 1024
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
        most_chunk_records: The route's ``flow.chunk_records``.
        calls_per_window: Into how many calls a model replica's window is divided.
        metadata_limit_characters: The brokers' ``offset.metadata.max.bytes``.
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
        most_chunk_records: int,
        calls_per_window: int = 4,
        metadata_limit_characters: int,
    ) -> None:
        self._consumer = consumer
        self._intake = intake
        self._messages = messages
        self._admission = admission
        self._most_chunk_records = most_chunk_records
        self._calls_per_window = calls_per_window
        self._held = HeldPartitions(metadata_limit_characters)
        self._queue = WorkQueue(longest_first=intake.work_field is not None)
        self._windows = ReplicaWindows(initial_records=most_chunk_records)
        self._calls_in_flight = 0
        self._recovery = Recovery(retry, jitter)
        self._deadlines: Schedule[WorkItem] = Schedule()
        self._outbox = Outbox()
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
            for item in self._queued_items():
                if item.assignment.revoked:
                    self._drop(item)
            self._queue.drop_unwanted()
        self._is_suspended = False
        self._outbox.open()
        return change

    def stop_intake(self) -> None:
        """Take in and dispatch nothing more: what only waits is left to the next owner."""
        self._takes_records = False
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
        """Records that wait for a model replica."""
        return self._queue.records

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
            if is_expired(read.deadline_ms, epoch_ms):
                self._expire(item, now_s)
                return
            if read.deadline_ms is not None:
                self._deadlines.add(read.deadline_ms, item)
            self._queue.add(item)
        elif isinstance(read, Refused):
            item = WorkItem(assignment, record, read.custom_id, None, now_s, held_bytes)
            self._respond(item, read.status_code, read.body, now_s)
        else:
            item = WorkItem(assignment, record, None, None, now_s, held_bytes)
            self._bury(item, read.code, read.message, now_s, epoch_ms)

    # --- dispatch ---

    def next_call(self, now_s: float, epoch_ms: int) -> tuple[Call, Chunk] | None:
        """Return the next chunk for a model replica, or ``None`` to wait."""
        while not self._is_suspended and self._recovery.breaker.may_call(
            now_s, self._calls_in_flight
        ):
            most = chunk_records(
                queued=self._queue.records,
                in_flight=self.in_flight_records,
                window_records=self._windows.records,
                smallest_window=self._windows.smallest_records,
                most_records=self._most_chunk_records,
                calls_per_window=self._calls_per_window,
            )
            if not most:
                return None
            items = [
                item
                for item in self._queue.take(most, now_s)
                if not self._is_over(item, now_s, epoch_ms)
            ]
            if items:
                return self._start_call(items, now_s)
        return None

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
            lines=[item.record.value or b"" for item in items],
            deadlines_ms=deadlines if any(deadlines) else [],
        )
        return Call(items), chunk

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
        failed: list[WorkItem] = []
        for index, status, body in zip(
            outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True
        ):
            item = call.answer(index)
            if item is None:
                continue
            self.in_flight_records -= 1
            if status >= STATUS_FAILED:
                failed.append(item)
                continue
            self._recovery.breaker.answered(now_s)
            if item.assignment.revoked:
                self._drop(item)
            elif status == STATUS_EXPIRED:
                self._expire(item, now_s)
            else:
                self._respond(item, status, body, now_s)
        if failed:
            self._fail(failed, "the model failed on this request", now_s, epoch_ms)

    def end_call(self, call: Call, reason: str, now_s: float, epoch_ms: int) -> None:
        """Take note that a call is over; what it left unanswered goes back or is given up.

        Args:
            call: The call.
            reason: Why it ended, to stand on dead letters.
            now_s: Monotonic seconds.
            epoch_ms: Wall clock in milliseconds.
        """
        self._calls_in_flight -= 1
        left = call.unanswered()
        if left and not call.has_answers:
            self._recovery.breaker.call_failed(now_s)
        self.in_flight_records -= len(left)
        self._fail(left, printable(reason), now_s, epoch_ms)

    def _fail(self, items: list[WorkItem], reason: str, now_s: float, epoch_ms: int) -> None:
        wanted = []
        for item in items:
            if item.assignment.revoked or not self._takes_records:
                self._drop(item)
            else:
                wanted.append(item)
        exhausted = self._recovery.take_back(wanted, now_s)
        self.counters.retried_records += len(wanted) - len(exhausted)
        for item in exhausted:
            message = f"{reason} (after {item.attempts} attempts)"
            self._bury(item, ErrorCode.MODEL_FAILED, message, now_s, epoch_ms)

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
        messages = self._messages.response(item, item.custom_id or "", status, body, now_s)
        self._settle(item, messages)

    def _expire(self, item: WorkItem, now_s: float) -> None:
        self.counters.expired_records += 1
        error = self._messages.error(
            item, item.custom_id or "", ErrorCode.REQUEST_EXPIRED, _EXPIRED_MESSAGE, now_s
        )
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
        self._outbox.add(Publication(item, messages))

    def _drop(self, item: WorkItem) -> None:
        item.settled = True
        self._admission.release(item.held_bytes)

    def _queued_items(self) -> list[WorkItem]:
        waiting = self._queue.waiting() + self._recovery.waiting()
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

    def has_commit_points(self) -> bool:
        """Say whether there is anything to commit."""
        return self._held.has_commit_points()

    def commit_points(self) -> dict[TopicPartition, CommitPoint]:
        """Return what there is to commit; pass it to ``committed`` once it is acknowledged."""
        return self._held.commit_points()

    def committed(self, points: Mapping[TopicPartition, CommitPoint]) -> None:
        """Take note that ``points`` are committed and acknowledged."""
        self._held.committed(points)
