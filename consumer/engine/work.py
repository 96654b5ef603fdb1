"""A record on its way through the engine, and the assignment it belongs to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import orjson

from consumer.engine.failures.retry import Failure
from consumer.engine.offsets.ledger import PartitionLedger
from consumer.engine.record_state import RecordState
from consumer.ports import Message, OffsetAndMetadata, Record, TopicPartition
from handoff.cancelling import CallCancellation
from handoff.chunk import Outcomes
from handoff.windows import CallInFlight
from schemas.wire.headers import Headers, encode_source
from schemas.wire.results import result_id

_NO_HEADERS: Headers = []
_ARRIVED, _IN_FLIGHT = RecordState.ARRIVED, RecordState.IN_FLIGHT


class ModelContractError(ValueError):
    """A model replica's outcomes break the promise of ``handoff.chunk.Outcomes``."""


@dataclass(eq=False, slots=True)
class PartitionAssignment:
    """One partition while it is assigned to this member.

    A record refers to its assignment. So an outcome that comes after the partition was lost
    (``revoked``) is dropped, even if the partition is assigned here again. ``attempted`` are
    commits since ``committed`` whose outcome is unknown.
    """

    partition: TopicPartition
    ledger: PartitionLedger
    committed: OffsetAndMetadata | None
    attempted: set[OffsetAndMetadata] = field(default_factory=set)
    revoked: bool = False
    _quoted_id_start: bytes = field(init=False, repr=False)
    _source_start: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # With an offset of 0, only the last digit differs from one record to the next.
        self._quoted_id_start = orjson.dumps(result_id(*self.partition, 0))[:-2]
        self._source_start = encode_source(*self.partition, 0)[:-1]

    def quoted_result_id(self, offset: int) -> bytes:
        return b'%b%d"' % (self._quoted_id_start, offset)

    def source(self, offset: int) -> bytes:
        return b"%b%d" % (self._source_start, offset)

    def wrote(self, point: OffsetAndMetadata | None) -> bool:
        """Return whether ``point`` is this assignment's: no other member has committed since."""
        return point == self.committed or point in self.attempted

    def acknowledge(self, point: OffsetAndMetadata | None) -> None:
        self.committed = point
        self.attempted.clear()


@dataclass(eq=False, slots=True)
class WorkItem:
    """A request on its way to its terminal outcome; times are monotonic seconds.

    Attributes:
        attempts: How often it was handed to a model replica, also by earlier owners if it failed.
        failed_attempts: Those that count against it.
        timeouts: How many of those were calls that were overdue.
        held_bytes: What admission counts for it.
        fetched_line: The request line for the model, if the record's value differs: its body was
            fetched, its url is spelled otherwise, or something precedes it.
        state: Changed by ``record_state.next_state`` only.
        successor: The next record of its key queue, blocked until this one is complete.
        messages: Its outcome, from the decision to the acknowledgement.
        is_small: The result among them is the small one in place of a refused one.
        has_letter: A dead letter is among them, or already published.
        reply_topic: Where its result goes in place of the results topic.
        parked_at_s: Since when its reply topic takes nothing.
    """

    assignment: PartitionAssignment
    record: Record
    custom_id: str | None
    deadline_ms: int | None
    received_at_s: float
    held_bytes: int
    dispatched_at_s: float = 0.0
    decided_at_s: float = 0.0
    attempts: int = 0
    failed_attempts: int = 0
    timeouts: int = 0
    first_failed_at_s: float = 0.0
    work: float = 0.0
    fetched_line: bytes | None = None
    state: RecordState = _ARRIVED
    successor: "WorkItem | None" = None
    messages: Sequence[Message] = ()
    is_small: bool = False
    has_letter: bool = False
    reply_topic: str | None = None
    parked_at_s: float | None = None

    @property
    def is_decided(self) -> bool:
        return self.state > _IN_FLIGHT

    @property
    def line(self) -> bytes:
        return self.record.value or b"" if self.fetched_line is None else self.fetched_line

    def let_go(self) -> None:
        """Forget the payload: the record is complete or dropped.

        The item may stay in structures that are cleared now and then, and in a call whose other
        records take longer. It costs the same however large the record was.
        """
        record = self.record
        # Runs for every record, and a named tuple's own constructor costs three times this.
        self.record = tuple.__new__(
            Record,
            (record.partition, record.offset, None, b"", _NO_HEADERS, record.timestamp_ms, None),
        )
        # They refer to this item, and both would wait for the garbage collector.
        self.messages = ()

    def is_wanted(self) -> bool:
        return self.state <= _IN_FLIGHT and not self.assignment.revoked


class Call:
    """One handle call: a chunk's work items, by their index in the chunk.

    Attributes:
        number: Names it to the model's replicas.
        is_accepted: A model replica has taken the call; before that, nothing is being computed.
        has_answers: Some record has had an outcome that is no failure.
        has_fresh_failures: Among the failures are records that had not failed before, or the
            replica had no room: evidence against the model and not the records.
        heard_at_s: Monotonic seconds when a replica took the call, or last answered a record of it.
        working_at_s: Monotonic seconds when the replica last said that it works on the call.
        earlier_timeouts: The most timeouts that a record of it had before.
        overdue: Why the call is given up for having taken too long, if it is.
        elsewhere: How many of its outcomes are still to come in the streams of other calls.
        cancellation: Which of its records the replica has been told to let go of.
    """

    def __init__(self, number: int, items: list[WorkItem], in_flight: CallInFlight) -> None:
        self.number = number
        self.records = len(items)
        self.in_flight = in_flight
        self.is_accepted = False
        self.has_answers = False
        self.has_failures = False
        self.has_fresh_failures = False
        self.sent_at_s = 0.0
        self.heard_at_s = 0.0
        self.working_at_s = 0.0
        self.earlier_timeouts = max(item.timeouts for item in items)
        self.first_deadline_ms = _first_deadline_ms(items)
        self.overdue: str | None = None
        self.elsewhere = 0
        self.cancellation = CallCancellation()
        self._items: list[WorkItem | None] = list(items)

    def check(self, outcomes: Outcomes) -> None:
        """Check the promise of ``Outcomes``, or raise ``ModelContractError``, before any counts."""
        columns = (outcomes.indexes, outcomes.statuses, outcomes.bodies)
        if len({len(column) for column in columns}) != 1:
            raise ModelContractError("indexes, statuses and bodies differ in length")
        records = len(self._items)
        if not all(map(range(records).__contains__, outcomes.indexes)):
            raise ModelContractError(f"an index is not one of the chunk's {records} records")
        if not _are_all(int, outcomes.statuses):
            raise ModelContractError("a status is no HTTP status")
        if not _are_all(bytes, outcomes.bodies):
            raise ModelContractError("a body is not bytes; encode it as UTF-8 JSON")

    def answer(self, index: int) -> WorkItem | None:
        item = self._items[index]
        self._items[index] = None
        return item

    def note_work(self, outcomes: Outcomes, now_s: float) -> None:
        if outcomes.is_working:
            self.working_at_s = now_s

    def note_failure(self, failure: Failure, items: list[WorkItem]) -> None:
        if failure is Failure.UNRECOVERABLE:
            self.has_answers = True
            return
        self.has_failures = True
        if failure is Failure.UNAVAILABLE or any(not item.first_failed_at_s for item in items):
            self.has_fresh_failures = True

    def unanswered(self) -> list[WorkItem]:
        left = [item for item in self._items if item is not None]
        self._items = [None] * len(self._items)
        return left

    def is_wanted(self) -> bool:
        return self.overdue is None and any(
            item is not None and item.is_wanted() for item in self._items
        )

    def unwanted(self) -> list[int]:
        """Return the positions of unanswered records that nobody wants any more."""
        return [
            index
            for index, item in enumerate(self._items)
            if item is not None and (self.overdue is not None or not item.is_wanted())
        ]

    def waiting(self) -> list[WorkItem]:
        return [item for item in self._items if item is not None]

    def take_expired(self, until_ms: int) -> list[WorkItem]:
        """Return the wanted items whose deadline is not after ``until_ms``; they stay in it."""
        if self.first_deadline_ms is None or self.first_deadline_ms > until_ms:
            return []
        wanted = [item for item in self.waiting() if item.is_wanted()]
        expired = [each for each in wanted if (each.deadline_ms or until_ms + 1) <= until_ms]
        self.first_deadline_ms = _first_deadline_ms(set(wanted) - set(expired))
        return expired


def _first_deadline_ms(items: Iterable[WorkItem]) -> int | None:
    return min((item.deadline_ms for item in items if item.deadline_ms is not None), default=None)


def _are_all(kind: type, values: Sequence[object]) -> bool:
    # The types at once first: this checks each part of every outcome.
    return {*map(type, values)} <= {kind} or all(isinstance(each, kind) for each in values)
