"""Deposits and fetches of bodies too large for a topic: their order and retries.

Moves run beside everything else, so a slow store delays only the records that need it.
"""

import random
from bisect import insort
from collections import deque
from dataclasses import dataclass

from consumer.engine.admission import Admission
from consumer.engine.bodies.fair_numbers import FairNumbers
from consumer.engine.failures.retry import RetryPolicy
from consumer.engine.record_state import RecordState, Step, next_state
from consumer.engine.schedule import Schedule
from consumer.engine.work import WorkItem
from schemas.wire.headers import read_job
from schemas.wire.references import RequestBodyReference
from schemas.wire.results import encode_response_line, result_id

MAX_MOVES = 8
"""Enough moves at once to fill a network, few enough to hold all of their bodies in memory."""
PATIENCE_S = 5.0
"""A body without room for this long is not passed any more: smaller bodies would take its room
again and again."""
_LOOK_AHEAD = 64
"""How many bodies without room are passed: this runs every turn, so it must not scan a backlog."""
_MAX_ENVELOPE_BYTES = 8192
"""More than a result line has around its body: ids and custom_ids are of limited length."""
_OWN_BYTES = 1024
"""More than Headrace's own headers and Kafka's framing of a record take."""
_HEADER_BYTES = 10


@dataclass(slots=True)
class ClaimCheckPolicy:
    """A route's ``claim_check`` settings.

    Attributes:
        over_bytes: Bodies of result lines above this are deposited.
        message_limit_bytes: So are results above this with key and headers.
        give_up_after_s: How long the store may fail on one body.
    """

    over_bytes: int
    message_limit_bytes: int
    max_object_bytes: int
    give_up_after_s: float

    def deposits(self, item: WorkItem, status_code: int, body: bytes) -> bool:
        limit_bytes = min(self.over_bytes, self.message_limit_bytes)
        record = item.record
        beside_bytes = _OWN_BYTES + len(record.key or b"")
        for name, value in record.headers:
            beside_bytes += len(name.encode()) + len(value or b"") + _HEADER_BYTES
        # The exact length costs quoting the line's parts, so only close cases pay for it.
        if len(body) + beside_bytes + _MAX_ENVELOPE_BYTES <= limit_bytes:
            return False
        if len(body) > self.max_object_bytes:
            return False
        line_id = result_id(*record.partition, record.offset)
        envelope = encode_response_line(line_id, item.custom_id or "", status_code, b"")
        line_bytes = len(envelope) + len(body)
        return line_bytes > self.over_bytes or line_bytes + beside_bytes > self.message_limit_bytes


@dataclass(eq=False, slots=True, kw_only=True)
class _Move:
    """A body in transfer; ``failed_at_s`` leaves out the time that it waited for room."""

    item: WorkItem
    failed_at_s: float | None = None
    attempts: int = 0
    failure: str = ""


@dataclass(eq=False, slots=True, kw_only=True)
class Deposit(_Move):
    status_code: int
    body: bytes

    @property
    def name(self) -> str:
        """The object's name without the checksum; the same for every redelivery."""
        return result_id(*self.item.record.partition, self.item.record.offset)

    @property
    def is_wanted(self) -> bool:
        return not self.item.assignment.revoked


@dataclass(eq=False, slots=True, kw_only=True)
class Fetch(_Move):
    """A request body to fetch; at ``no_room_since_s`` its turn came without room for it."""

    url: str
    reference: RequestBodyReference
    size_bytes: int | None
    number: float
    no_room_since_s: float | None = None

    @property
    def is_wanted(self) -> bool:
        return self.item.is_wanted()


Move = Deposit | Fetch


class BodyMoves:
    """Decides which bodies move and which wait.

    Memory is bounded: a body is fetched only if admission has room for all of its bytes, or no
    other fetched body is held. So a fetched body must be able to go to the model at once, and the
    body of a blocked record stays in the store. Otherwise it could take the room that the earlier
    record of its key queue needs, and neither would ever go.

    Fetches take turns by job. Deposits are counted as results are; they go first, as each one that
    ends frees its bytes. After a failure of the store, a move has the backoff of ``retry``, until
    ``give_up_after_s``.
    """

    def __init__(
        self,
        admission: Admission,
        retry: RetryPolicy,
        jitter: random.Random,
        give_up_after_s: float,
    ) -> None:
        self._admission = admission
        self._retry = retry
        self._jitter = jitter
        self._give_up_after_s = give_up_after_s
        self._deposits: deque[Deposit] = deque()
        self._fetches: list[Fetch] = []
        self._blocked: dict[WorkItem, Fetch] = {}
        self._failed: Schedule[Move] = Schedule()
        # Failed moves that wait for their turn, each with when to give it up; and the earliest
        # time.
        self._failing: dict[Move, float] = {}
        self._judge_at_s: float | None = None
        # Running moves, with the bytes reserved for each.
        self._running: dict[Move, int] = {}
        self._fetched: set[WorkItem] = set()
        self._numbers = FairNumbers()

    def deposit(self, item: WorkItem, status_code: int, body: bytes) -> None:
        self._deposits.append(Deposit(item=item, status_code=status_code, body=body))

    def fetch(self, item: WorkItem, url: str, reference: RequestBodyReference) -> None:
        fetch = Fetch(
            item=item,
            url=url,
            reference=reference,
            size_bytes=reference.size_bytes,
            number=self._numbers.number(*read_job(item.record.headers)),
        )
        if item.state is RecordState.BLOCKED:
            self._blocked[item] = fetch
        else:
            self._line_up(fetch)

    def unblock(self, item: WorkItem) -> bool:
        fetch = self._blocked.pop(item, None)
        if fetch is not None and item.state is RecordState.ARRIVED:
            self._line_up(fetch)
        return fetch is not None

    def note_given_up(self) -> None:
        """Note that many fetches may be unwanted now; their jobs have lost no turns by it."""
        latest: dict[bytes, float] = {}
        for fetch in (*self._fetches, *self._blocked.values()):
            if fetch.is_wanted:
                job, _ = read_job(fetch.item.record.headers)
                latest[job] = max(fetch.number, latest.get(job, 0.0))
        self._numbers.restart(latest)

    def __len__(self) -> int:
        waiting = len(self._deposits) + len(self._fetches) + len(self._failed)
        return waiting + len(self._running)

    @property
    def has_deposits(self) -> bool:
        return bool(self._deposits) or any(
            isinstance(move, Deposit) for move in (*self._running, *self._failed.items())
        )

    @property
    def is_moving(self) -> bool:
        """Whether a body moves, or will move without waiting for room."""
        return bool(self._running) or bool(self._deposits) or len(self._failed) > 0

    def failing(self) -> list[Move]:
        moves = (*self._running, *self._failing)
        return [move for move in moves if move.failed_at_s is not None]

    def requests(self) -> list[WorkItem]:
        moves = (*self._running, *self._fetches, *self._failed.items())
        return [move.item for move in moves if isinstance(move, Fetch)]

    def next_move(self, now_s: float) -> Move | None:
        for move in self._failed.take_due(now_s):
            self._queue_again(move)
        if len(self._running) >= MAX_MOVES:
            return None
        if self._deposits:
            deposit = self._deposits.popleft()
            self._start(deposit)
            return deposit
        fetch = self._next_fetch(now_s)
        if fetch is not None:
            self._start(fetch)
            self._numbers.started(fetch.number)
            self._reserve(fetch, now_s)
        return fetch

    def measured(self, fetch: Fetch, size_bytes: int, now_s: float) -> bool:
        """Reserve room for a body of this size; if there is none, end the move and return False."""
        fetch.size_bytes = size_bytes
        if self._has_room(fetch):
            self._reserve(fetch, now_s)
            return True
        self.ended(fetch)
        self._queue_again(fetch)
        return False

    def ended(self, move: Move) -> None:
        self._admission.grow(-self._running.pop(move))

    def holds(self, item: WorkItem) -> None:
        self._fetched.add(item)

    def let_go(self, item: WorkItem) -> None:
        self._fetched.discard(item)

    def try_again(self, move: Move, reason: str, now_s: float) -> bool:
        move.attempts += 1
        move.failure = reason
        if move.failed_at_s is None:
            move.failed_at_s = now_s
        give_up_at_s = move.failed_at_s + self._give_up_after_s
        if now_s >= give_up_at_s:
            return False
        due_at_s = now_s + self._retry.backoff_s(move.attempts, self._jitter)
        self._failed.add(min(due_at_s, give_up_at_s), move)
        self._failing[move] = give_up_at_s
        self._judge_at_s = min(give_up_at_s, self._judge_at_s or give_up_at_s)
        return True

    def take_overdue(self, now_s: float) -> list[Move]:
        if self._judge_at_s is None or now_s < self._judge_at_s:
            return []
        overdue = {move for move, at_s in self._failing.items() if at_s <= now_s}
        for move in overdue:
            del self._failing[move]
        self._judge_at_s = min(self._failing.values(), default=None)
        if overdue:
            self._deposits = deque(each for each in self._deposits if each not in overdue)
            self._fetches = [each for each in self._fetches if each not in overdue]
            self._failed.keep(lambda move: move not in overdue)
        return list(overdue)

    def next_due_at_s(self) -> float | None:
        times = [at_s for at_s in (self._failed.next_at(), self._judge_at_s) if at_s is not None]
        return min(times, default=None)

    def _queue_again(self, move: Move) -> None:
        if isinstance(move, Deposit):
            self._deposits.append(move)
        else:
            insort(self._fetches, move, key=_number)

    def _line_up(self, fetch: Fetch) -> None:
        fetch.item.state = next_state(fetch.item.state, Step.FETCH)
        insort(self._fetches, fetch, key=_number)

    def _start(self, move: Move) -> None:
        self._failing.pop(move, None)
        self._running[move] = 0

    def _reserve(self, fetch: Fetch, now_s: float) -> None:
        if fetch.no_room_since_s is not None:
            if fetch.failed_at_s is not None:  # which is held against the store, not this
                fetch.failed_at_s += now_s - fetch.no_room_since_s
            fetch.no_room_since_s = None
        self._running[fetch] = fetch.size_bytes or 0
        self._admission.grow(self._running[fetch])

    def _next_fetch(self, now_s: float) -> Fetch | None:
        position = 0
        while position < min(len(self._fetches), _LOOK_AHEAD):
            fetch = self._fetches[position]
            if not fetch.is_wanted:
                self._failing.pop(fetch, None)
                del self._fetches[position]
                continue
            if self._has_room(fetch):
                return self._fetches.pop(position)
            if fetch.no_room_since_s is None:
                fetch.no_room_since_s = now_s
                self._failing.pop(fetch, None)
            elif now_s - fetch.no_room_since_s >= PATIENCE_S:
                return None
            position += 1
        return None

    def _has_room(self, fetch: Fetch) -> bool:
        if fetch.size_bytes is None:
            return True
        if self._admission.held_bytes + fetch.size_bytes <= self._admission.max_bytes:
            return True
        return not self._fetched and not any(self._running.values())


def _number(fetch: Fetch) -> float:
    return fetch.number
