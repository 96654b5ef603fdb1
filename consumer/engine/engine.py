"""The engine: every decision between a record that was read and an offset that is committed.

Synchronous, without I/O and without a clock: ``now_s`` is monotonic seconds, ``epoch_ms`` the wall
clock in milliseconds. One task at a time may call it. A record's way through it::

    deliver ─▶ queue ─▶ next_call ─▶ take_outcomes ─▶ take_publications ─▶ acknowledged ─▶ commit
       │         ▲          └─ end_call ─▶ retry ─┘          ▲
       └─────────┴── outcome known already: dead letter, refusal, expired ──┘
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from consumer.engine.admission import Admission
from consumer.engine.arrivals import Arrivals
from consumer.engine.backlog import Backlog
from consumer.engine.bodies.bodies import Bodies
from consumer.engine.bodies.moves import BodyMoves, ClaimCheckPolicy
from consumer.engine.calls.calls import Calls
from consumer.engine.calls.key_queues import KeyQueues
from consumer.engine.calls.work_queue import WorkQueue
from consumer.engine.cancellation import Cancellations
from consumer.engine.counters import Counters, Events
from consumer.engine.failures.isolation import Isolation
from consumer.engine.failures.retry import RetryPolicy
from consumer.engine.happenings import Happenings
from consumer.engine.intake import Intake
from consumer.engine.offsets.assigned_partitions import (
    Allowance,
    AssignedPartitions,
    AssignmentChange,
)
from consumer.engine.offsets.log_ends import LogEnds
from consumer.engine.outcomes.completion import Completion
from consumer.engine.outcomes.messages import OutcomeMessages
from consumer.engine.outcomes.outbox import Outbox
from consumer.engine.outcomes.transactions import Transaction, Transactions
from consumer.engine.replies.look_ups import LookUps
from consumer.engine.replies.parked import Parked
from consumer.engine.replies.replies import Replies
from consumer.engine.schedule import Schedule
from consumer.engine.settings import EngineSettings, LiveSettings
from consumer.engine.timings import Timings
from consumer.engine.tracing.traces import Traces
from consumer.engine.waiting.standing import Standing
from consumer.engine.work import Call, PartitionAssignment, WorkItem
from consumer.ports import OffsetAndMetadata, ReadingNotes, Record, Rejection, TopicPartition
from handoff.chunk import Chunk, Outcomes

REBALANCING = "the group is rebalancing: reading goes on when each of its members has joined again"


class Engine:
    """Decides for one consumer replica of one route; ``consumer`` names it to model replicas.

    ``earlier`` is an engine of the same replica that has ended: its counts go on.

    Attributes:
        consumer: As above.
        backlog: Records without an outcome.
        bodies: Large bodies, to and from the object store.
        log_ends: How far partitions are behind; callers note where logs end.
        happenings: What the log is to say of single records.
        look_ups: Reply topics that are to be looked up.
        timings: How long records and commits take; callers note what is acknowledged.
        transactions: What goes into one transaction, under exactly-once.
    """

    def __init__(  # noqa: PLR0913 - the parts of an engine
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
        traces: Traces | None = None,
        earlier: "Engine | None" = None,
    ) -> None:
        self.consumer = consumer
        self._traces = traces
        self._admission = admission
        self._intake = intake
        self._messages = messages
        self._claim_check = claim_check
        self._retry = retry
        self._settings = settings
        self._assigned = AssignedPartitions(
            settings.metadata_limit_characters, may_repeat=settings.may_repeat
        )
        self.log_ends = LogEnds(self._assigned)
        self._outbox = Outbox()
        self.transactions = Transactions(self._assigned, self._outbox)
        # Metrics of a replica only grow, also where one engine follows another.
        self.counters: Counters = Counters() if earlier is None else earlier.counters
        self.events: Events = Events() if earlier is None else earlier.events
        self.timings: Timings = Timings() if earlier is None else earlier.timings
        self.happenings = Happenings()
        queue = WorkQueue(longest_first=intake.work_field is not None)
        key_queues = KeyQueues(settings.ordering)
        isolation = Isolation(retry, jitter, self.happenings)
        cancellations = Cancellations(messages.route)
        deadlines: Schedule[WorkItem] = Schedule()
        body_moves = BodyMoves(
            admission, retry, jitter, claim_check.give_up_after_s if claim_check else 0.0
        )
        look_ups = LookUps()
        self._parked = Parked(admission, is_ordered=settings.ordering != "none")
        self._completion = Completion(
            messages=messages,
            admission=admission,
            key_queues=key_queues,
            queue=queue,
            isolation=isolation,
            outbox=self._outbox,
            body_moves=body_moves,
            parked=self._parked,
            claim_check=claim_check,
            counters=self.counters,
            happenings=self.happenings,
        )
        self._completion.traces = traces
        replies = Replies(look_ups, self._completion, body_moves)
        self.look_ups = look_ups
        self._arrivals = Arrivals(
            intake=intake,
            assigned=self._assigned,
            admission=admission,
            key_queues=key_queues,
            completion=self._completion,
            body_moves=body_moves,
            cancellations=cancellations,
            deadlines=deadlines,
            replies=replies,
            counters=self.counters,
            notes=notes,
            traces=traces,
        )
        self.calls = Calls(
            consumer=consumer,
            queue=queue,
            isolation=isolation,
            completion=self._completion,
            settings=settings,
            counters=self.counters,
            timings=self.timings,
            traces=traces,
        )
        self.bodies = Bodies(body_moves, self._completion, messages)
        self.backlog = Backlog(
            calls=self.calls,
            isolation=isolation,
            key_queues=key_queues,
            bodies=self.bodies,
            cancellations=cancellations,
            deadlines=deadlines,
            admission=admission,
            completion=self._completion,
            replies=replies,
        )
        self._standing = Standing(
            assigned=self._assigned,
            admission=admission,
            calls=self.calls,
            isolation=isolation,
            body_moves=body_moves,
            parked=self._parked,
            look_ups=look_ups,
            counters=self.counters,
        )
        self._is_suspended = True
        self._suspension = "waits for the group: it has handed out no partitions yet"
        self._takes_records = True
        self._has_ended = False

    def reconfigure(self, live: LiveSettings) -> None:
        """Go on with other settings; admitted records keep the outcome that they have."""
        self._admission.max_records = live.max_records
        self._admission.max_bytes = live.max_bytes
        self._settings.most_chunk_records = live.most_chunk_records
        self._settings.max_body_bytes = live.max_body_bytes
        self.calls.limiter.set_limits(live.rate_limits)
        self._intake.max_request_bytes = live.max_request_bytes
        self._intake.reply_topics = live.reply_topics
        self._messages.max_result_bytes = live.max_result_bytes
        self._messages.fail_with_result = live.fail_with_result
        if self._claim_check is not None:
            self._claim_check.over_bytes = live.over_bytes
        for field in fields(RetryPolicy):
            setattr(self._retry, field.name, getattr(live.retry, field.name))

    def suspend(self, reason: str = REBALANCING) -> None:
        """Read, call and publish nothing more: the partitions may be about to go.

        Work in flight runs on. Decided outcomes may still be published; a new owner could publish
        what finishes from here on, so that waits until ``assign``. ``reason`` is a line for
        ``waits``.
        """
        if not self._is_suspended:
            self._suspension = reason
        self._is_suspended = True
        self._outbox.close()

    def hold_publications(self) -> None:
        self._outbox.hold()

    def assign(
        self,
        committed: Mapping[TopicPartition, OffsetAndMetadata | None],
        log_ids: Mapping[TopicPartition, bytes] | None = None,
        topic_partitions: int = 0,
    ) -> AssignmentChange:
        """Take over an assignment and go on; ``committed`` has every partition assigned now.

        ``topic_partitions`` is how many the topic has: this consumer's share of a limit.
        """
        if self._has_ended:
            return AssignmentChange()
        self.events.assignments += 1
        change = self._assigned.change(committed, log_ids or {})
        self.calls.limiter.set_share(len(committed), topic_partitions)
        if change.lost:
            self._lose(change.lost)
        self._is_suspended = False
        self._outbox.open()
        return change

    def _lose(self, assignments: list[PartitionAssignment]) -> None:
        self.backlog.lose(assignments)
        for assignment in assignments:
            self.withdrawn(self._outbox.remove(assignment))
            self.withdrawn(self._parked.remove(assignment))

    def stop_intake(self) -> None:
        """Read and call nothing more; the next owner takes what waits."""
        self._takes_records = False
        self.backlog.drop_waiting()

    def end(self) -> None:
        """Read, call, publish and commit nothing more, for good.

        After a failure this engine's knowledge may be wrong: its offsets may be those of another
        log, its partitions another member's. Only flags change, as the engine itself may be what
        failed.
        """
        self._has_ended = True
        self._is_suspended = True
        self._takes_records = False
        self.calls.takes_back = False
        self._outbox.hold()

    @property
    def partitions(self) -> list[TopicPartition]:
        return [assignment.partition for assignment in self._assigned]

    @property
    def is_suspended(self) -> bool:
        return self._is_suspended

    @property
    def queued_records(self) -> int:
        return self.backlog.queued_records

    @property
    def runnable_records(self) -> int | None:
        """Records that wait or are in flight; ``None`` on a route without order, where all are."""
        return None if self._settings.ordering == "none" else self.backlog.runnable_records

    @property
    def reads_on(self) -> bool:
        return self._admission.allowance_records() > 0

    @property
    def admission(self) -> Admission:
        return self._admission

    @property
    def held_records(self) -> int:
        return self._admission.held_records

    @property
    def held_bytes(self) -> int:
        return self._admission.held_bytes

    @property
    def in_flight_records(self) -> int:
        return self.calls.windows.in_flight_records

    def is_limited(self, now_s: float) -> bool | None:
        """Return whether the route's rate limit holds records back; ``None`` without a limit."""
        limiter = self.calls.limiter
        return limiter.has_held(now_s) if limiter.is_on else None

    def standing(self) -> tuple[int, ...]:
        return self._standing.numbers()

    def neglected(self) -> str | None:
        return self._standing.neglected(len(self.backlog.waiting())) if self._reads else None

    def waits(self, now_s: float) -> list[str]:
        if self._has_ended or not self._takes_records:
            return []
        suspension = [self._suspension] if self._is_suspended else []
        standing = self._standing.waits(self.queued_records, now_s)
        return [*suspension, *standing, *self._parked.waits(now_s)]

    @property
    def _reads(self) -> bool:
        return self._takes_records and not self._is_suspended

    def readable_offsets(self) -> dict[TopicPartition, int]:
        return self._assigned.next_offsets(self.allowance().partitions)

    def allowance(self) -> Allowance:
        records = self._admission.allowance_records() if self._reads else 0
        if not records:
            return Allowance([], 0, is_restricted=True)
        return self._assigned.readable(records)

    def deliver(
        self, records: Iterable[Record], now_s: float, epoch_ms: int
    ) -> dict[TopicPartition, int]:
        """Admit polled records; return where to seek back to in partitions without enough room.

        Raises:
            SourceError: The log went backwards: what is read now is not what was read before.
        """
        return self._arrivals.deliver(records, now_s, epoch_ms) if self._reads else {}

    def expire(self, log_starts: Mapping[TopicPartition, int]) -> None:
        if self._reads:
            self._arrivals.expire(log_starts)

    def pass_over(self, positions: Mapping[TopicPartition, int]) -> None:
        if self._reads:
            self._arrivals.pass_over(positions)

    def next_call(self, now_s: float, epoch_ms: int) -> tuple[Call, Chunk] | None:
        return None if self._is_suspended else self.calls.next(now_s, epoch_ms)

    def take_outcomes(self, call: Call, outcomes: Outcomes, now_s: float, epoch_ms: int) -> None:
        self.calls.take_outcomes(call, outcomes, now_s, epoch_ms)

    def end_call(self, call: Call, reason: str, now_s: float, epoch_ms: int) -> None:
        self.calls.end(call, reason, now_s, epoch_ms)

    def advance(self, now_s: float, epoch_ms: int) -> None:
        self.backlog.advance(now_s, epoch_ms)

    def next_due_in_s(self, now_s: float, epoch_ms: int) -> float | None:
        return self.backlog.next_due_in_s(now_s, epoch_ms, is_suspended=self._is_suspended)

    @property
    def has_publications(self) -> bool:
        return self._outbox.has_publishable

    def take_publications(self, most_records: int, most_bytes: int) -> list[WorkItem]:
        return self._completion.take_publications(most_records, most_bytes)

    def note_published(self, items: Sequence[WorkItem], now_s: float, epoch_ms: int) -> None:
        """Note the times of acknowledged outcomes, before ``acknowledged`` lets them go."""
        self.timings.published(items, now_s, epoch_ms)
        if self._traces is not None:
            self._traces.ended(items, now_s)

    def acknowledged(self, items: Iterable[WorkItem]) -> None:
        self._completion.acknowledged(items)

    def withdrawn(self, items: Iterable[WorkItem]) -> None:
        """Drop outcomes of lost partitions; they may have been published, or in part."""
        for item in items:
            self._completion.drop(item)

    def rejected(
        self, item: WorkItem, rejections: Sequence[Rejection], now_s: float, epoch_ms: int
    ) -> bool:
        self._note_missing(rejections, now_s)
        return self._completion.rejected(item, rejections, now_s, epoch_ms)

    def _note_missing(self, rejections: Iterable[Rejection], now_s: float) -> None:
        for each in rejections:
            if each.is_missing:
                self.look_ups.note_missing(each.message.topic, now_s)
                self._completion.release_parked(each.message.topic)

    def transaction_committed(self, transaction: Transaction) -> None:
        self.acknowledged(transaction.items)
        self.transactions.committed(transaction)

    def transaction_refused(
        self,
        transaction: Transaction,
        rejections: Sequence[Rejection],
        now_s: float,
        epoch_ms: int,
    ) -> bool:
        """Replace an aborted transaction's refused messages; False if no dead letter is taken."""
        if transaction.assignment.revoked:
            self.transactions.aborted(transaction)
            self._lose([transaction.assignment])
            return True
        self._note_missing(rejections, now_s)
        parked = self._completion.substitute(rejections, now_s, epoch_ms)
        self.transactions.aborted(transaction, parked or ())
        return parked is not None

    def transaction_fenced(self, transaction: Transaction) -> bool:
        """Drop the partition of an aborted transaction, as it is another member's.

        Returns whether the partition stays unread unless the group rebalances. Not if it was lost
        before, nor during a rebalance: ``assign`` starts it afresh if it is ours.
        """
        self.transactions.aborted(transaction)
        was_held = self._assigned.drop(transaction.assignment)
        self._lose([transaction.assignment])
        return was_held and not self._is_suspended

    def has_offsets_to_commit(self) -> bool:
        return not self._has_ended and self._assigned.has_offsets_to_commit()

    def offsets_and_metadata(self) -> dict[TopicPartition, OffsetAndMetadata]:
        return {} if self._has_ended else self._assigned.offsets_and_metadata()

    def committed(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        self._assigned.committed(points)
