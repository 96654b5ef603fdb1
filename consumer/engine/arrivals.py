"""Records that arrive: each waits for the model, or has its outcome at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consumer.engine.admission import Admission
from consumer.engine.bodies.moves import BodyMoves
from consumer.engine.calls.key_queues import KeyQueues
from consumer.engine.cancellation import Cancellations
from consumer.engine.counters import Counters
from consumer.engine.intake import (
    MOST_ENDS,
    Intake,
    Refused,
    Request,
    Tombstone,
    give_up,
    is_expired,
)
from consumer.engine.offsets.assigned_partitions import AssignedPartitions
from consumer.engine.offsets.ledger import Delivery
from consumer.engine.outcomes.completion import Completion
from consumer.engine.replies.replies import Replies
from consumer.engine.schedule import Schedule
from consumer.engine.work import PartitionAssignment, WorkItem
from consumer.ports import ReadingNotes, Record, SourceError, TopicPartition


@dataclass(eq=False, kw_only=True, slots=True)
class Arrivals:
    """Admits polled records, within the ledgers of the assigned partitions."""

    intake: Intake
    assigned: AssignedPartitions
    admission: Admission
    key_queues: KeyQueues
    completion: Completion
    body_moves: BodyMoves
    cancellations: Cancellations
    deadlines: Schedule[WorkItem]
    replies: Replies
    counters: Counters
    notes: ReadingNotes | None

    def deliver(
        self, records: Iterable[Record], now_s: float, epoch_ms: int
    ) -> dict[TopicPartition, int]:
        rewinds: dict[TopicPartition, int] = {}
        for record in records:
            assignment = self.assigned.get(record.partition)
            if assignment is None or record.partition in rewinds:
                continue
            delivery = assignment.ledger.deliver(record.offset)
            if delivery is Delivery.ADMITTED:
                if self.notes is None:
                    self._admit(assignment, record, now_s, epoch_ms)
                else:
                    ends = self.notes.begin(record)
                    self._admit(assignment, record, now_s, epoch_ms, ends)
                    self.notes.end(record)
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
        for partition, log_start in log_starts.items():
            assignment = self.assigned.get(partition)
            if assignment is not None:
                self.counters.lost_to_retention_records += assignment.ledger.expire(log_start)

    def pass_over(self, positions: Mapping[TopicPartition, int]) -> None:
        for partition, position in positions.items():
            assignment = self.assigned.get(partition)
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
            # The cancellations so far were meant for requests before now; later ones cover it.
            record = record._replace(timestamp_ms=epoch_ms)
        read = self.intake.read(record) if ends < MOST_ENDS else give_up(record, ends)
        held_bytes = record.size_bytes()
        self.counters.received_records += 1
        self.counters.received_bytes += held_bytes
        if isinstance(read, Tombstone):
            self.counters.skipped_records += 1
            assignment.ledger.complete(record.offset)
            return
        self.admission.admit(held_bytes)
        if isinstance(read, Request):
            item = WorkItem(assignment, record, read.custom_id, read.deadline_ms, now_s, held_bytes)
            item.work = read.work
            item.reply_topic = read.reply_topic
            if read.line is not None:
                item.fetched_line = read.line
                self.completion.grow(item, len(read.line))
            self._enter(item)
            if self.cancellations.covers(record, read.custom_id):
                self.completion.cancel(item, now_s)
                return
            if is_expired(read.deadline_ms, epoch_ms):
                self.completion.expire(item, now_s)
                return
            if read.deadline_ms is not None:
                self.deadlines.add(read.deadline_ms, item)
            if read.reply_topic is not None and not self.replies.may_go_on(
                item, read.url, read.reference, now_s, epoch_ms
            ):
                return
            if read.reference is not None:
                self.body_moves.fetch(item, read.url, read.reference)
                return
            self.completion.make_ready(item)
        elif isinstance(read, Refused):
            item = WorkItem(assignment, record, read.custom_id, None, now_s, held_bytes)
            item.reply_topic = self.intake.reply_topic_of(record)
            self._enter(item)
            self.completion.respond(item, read.status_code, read.body, now_s)
        else:
            item = WorkItem(assignment, record, read.custom_id, None, now_s, held_bytes)
            item.reply_topic = self.intake.reply_topic_of(record)
            self._enter(item)
            self.completion.dead_letter(item, read.code, read.message, now_s, epoch_ms)

    def _enter(self, item: WorkItem) -> None:
        failures = item.assignment.ledger.failures_of(item.record.offset)
        if failures is not None:
            item.attempts, item.failed_attempts = failures.attempts, failures.strikes
        self.key_queues.enter(item)
