"""Deposits and fetches of bodies too large for a topic: which moves next, and when to give up.

Moves run beside everything else, so a slow store delays only the records that need it.
"""

import random
from bisect import insort
from collections import deque
from dataclasses import dataclass

from consumer.engine.admission import Admission
from consumer.engine.failures.retry import RetryPolicy
from consumer.engine.record_state import RecordState, Step, next_state
from consumer.engine.schedule import Schedule
from consumer.engine.work import WorkItem
from schemas.wire.references import RequestBodyReference
from schemas.wire.results import encode_response_line, result_id

MAX_MOVES = 8
"""Bodies on their way at once: enough to fill a network, few enough to hold them all in memory."""
PATIENCE_S = 5.0
"""A body that has had no room for this long is passed by no more: smaller ones would take the room
that it waits for again and again."""
_LOOK_AHEAD = 64
"""How many bodies without room are passed: what runs at every turn must not cost a backlog."""
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
        message_limit_bytes: So are those of results above this with key and headers: what the
            results topic and the client take.
        max_object_bytes: The most bytes of one stored body.
        give_up_after_s: How long a store may fail on one body.
    """

    over_bytes: int
    message_limit_bytes: int
    max_object_bytes: int
    give_up_after_s: float

    def deposits(self, item: WorkItem, status_code: int, body: bytes) -> bool:
        """Return whether a response's body goes to the store."""
        limit_bytes = min(self.over_bytes, self.message_limit_bytes)
        record = item.record
        beside_bytes = _OWN_BYTES + len(record.key or b"")
        for name, value in record.headers:
            beside_bytes += len(name.encode()) + len(value or b"") + _HEADER_BYTES
        # The line's exact length costs quoting its parts: for the few that come close.
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
    """A body on its way.

    Attributes:
        item: Its record.
        failed_at_s: Monotonic seconds when the store failed on it first, and later by as long as it
            waited for room since.
        attempts: How often the store failed on it, the last time by ``failure``.
    """

    item: WorkItem
    failed_at_s: float | None = None
    attempts: int = 0
    failure: str = ""


@dataclass(eq=False, slots=True, kw_only=True)
class Deposit(_Move):
    """A response body on its way to the store, as UTF-8 JSON."""

    status_code: int
    body: bytes

    @property
    def name(self) -> str:
        """What its object is called, save for the checksum: the same for every redelivery."""
        return result_id(*self.item.record.partition, self.item.record.offset)

    @property
    def is_wanted(self) -> bool:
        """Whether its result may still be published from here."""
        return not self.item.assignment.revoked


@dataclass(eq=False, slots=True, kw_only=True)
class Fetch(_Move):
    """A request body on its way from the store.

    Attributes:
        url: The endpoint of the request.
        reference: Where it is.
        size_bytes: Its size, by the reference or by the store; ``None`` until known.
        number: Its place in the line: first come, first served.
        no_room_since_s: Monotonic seconds when its turn came and there was no room for it.
    """

    url: str
    reference: RequestBodyReference
    size_bytes: int | None
    number: int
    no_room_since_s: float | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether the record is still to be computed."""
        return self.item.is_wanted()


Move = Deposit | Fetch


class BodyMoves:
    """Which bodies move, and which wait.

    Memory is bounded: a body is fetched only where admission has room for all of its bytes, or no
    other fetched body is held. So a fetched body must be able to go to the model at once: that of a
    blocked record stays in the store. It would take the room that the earlier record of its key
    queue needs, and neither would ever go.

    Deposits are counted as results are; they go first, as each one that ends frees its bytes.

    After a failure of the store a move has the backoff of ``retry``, until ``give_up_after_s``.
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
        # What failed and waits for its turn, with when to give it up; and the least of those times.
        self._failing: dict[Move, float] = {}
        self._judge_at_s: float | None = None
        # What moves, with the bytes for which it has reserved room.
        self._running: dict[Move, int] = {}
        self._fetched: set[WorkItem] = set()
        self._added = 0

    # --- what waits ---

    def deposit(self, item: WorkItem, status_code: int, body: bytes) -> None:
        self._deposits.append(Deposit(item=item, status_code=status_code, body=body))

    def fetch(self, item: WorkItem, url: str, reference: RequestBodyReference) -> None:
        """Queue a request's body; that of a blocked record waits for ``unblock``."""
        self._added += 1
        fetch = Fetch(
            item=item,
            url=url,
            reference=reference,
            size_bytes=reference.size_bytes,
            number=self._added,
        )
        if item.state is RecordState.BLOCKED:
            self._blocked[item] = fetch
        else:
            self._line_up(fetch)

    def unblock(self, item: WorkItem) -> bool:
        """Queue the body of a record that is no longer blocked; return whether it has one."""
        fetch = self._blocked.pop(item, None)
        if fetch is not None and item.state is RecordState.ARRIVED:
            self._line_up(fetch)
        return fetch is not None

    def __len__(self) -> int:
        """Return how many bodies move or wait for their turn."""
        waiting = len(self._deposits) + len(self._fetches) + len(self._failed)
        return waiting + len(self._running)

    @property
    def has_deposits(self) -> bool:
        """Whether any response body moves or waits."""
        return bool(self._deposits) or any(
            isinstance(move, Deposit) for move in (*self._running, *self._failed.items())
        )

    @property
    def is_moving(self) -> bool:
        """Whether any body moves, or has a move to come that waits for no room."""
        return bool(self._running) or bool(self._deposits) or len(self._failed) > 0

    def failing(self) -> list[Move]:
        """Return the moves that have failed and are to be tried again, or are being so."""
        moves = (*self._running, *self._failing)
        return [move for move in moves if move.failed_at_s is not None]

    def requests(self) -> list[WorkItem]:
        """Return the records that are ``FETCHING``."""
        moves = (*self._running, *self._fetches, *self._failed.items())
        return [move.item for move in moves if isinstance(move, Fetch)]

    # --- what moves ---

    def next_move(self, now_s: float) -> Move | None:
        """Start the next move, if one may start now; it runs until ``ended``."""
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
            self._reserve(fetch, now_s)
        return fetch

    def measured(self, fetch: Fetch, size_bytes: int, now_s: float) -> bool:
        """Note the size of a body that is being fetched, and reserve room for it.

        Returns:
            False where there is none now: the move is over, and the body back in its place.
        """
        fetch.size_bytes = size_bytes
        if self._has_room(fetch):
            self._reserve(fetch, now_s)
            return True
        self.ended(fetch)
        self._queue_again(fetch)
        return False

    def ended(self, move: Move) -> None:
        """Note that a move is over, well or not, and free its room."""
        self._admission.grow(-self._running.pop(move))

    def holds(self, item: WorkItem) -> None:
        """Note that the engine holds a fetched body, until ``let_go``."""
        self._fetched.add(item)

    def let_go(self, item: WorkItem) -> None:
        self._fetched.discard(item)

    # --- failures ---

    def try_again(self, move: Move, reason: str, now_s: float) -> bool:
        """Schedule a move that failed; False where it is to be given up instead."""
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
        """Take out what failed, and in all its time had no turn to fail again."""
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
        """Return when a failed move is to be tried again or given up, if there is one."""
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
        """Take the oldest body that has room, past a few that have none."""
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


def _number(fetch: Fetch) -> int:
    return fetch.number
