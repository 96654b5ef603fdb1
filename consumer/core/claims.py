"""Claim check: bodies too large for a topic, on their way to the object store and from it.

Pure: which body moves next, when a move that failed is tried again, and when it is given up. Moves
run beside everything else, so that a slow store holds back nothing but the records that need it.
"""

import random
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import orjson

from consumer.core.admission import Admission
from consumer.core.retry import RetryPolicy
from consumer.core.schedule import Schedule
from consumer.core.work import WorkItem
from schemas.references import BodyReference, RequestBodyReference
from schemas.results import encode_response_line, result_id

MAX_MOVES = 8
"""Bodies on their way at once: enough to fill a network, few enough to hold them all in memory."""
STATUS_BAD_REQUEST = 400
_SPARE_ENTRIES = 64
_MAX_ENVELOPE_BYTES = 8192
"""More than a result line has around its body: ids and custom_ids are of limited length."""
_OWN_BYTES = 1024
"""More than Headrace's own headers and Kafka's framing of a record take."""
_HEADER_BYTES = 10


@dataclass(frozen=True, slots=True)
class ClaimCheckPolicy:
    """A route's ``claim_check`` settings, in the core's terms.

    Attributes:
        over_bytes: Result lines above this go to the store.
        message_limit_bytes: So do results that would be above this with key and headers: what the
            results topic and the client take.
        max_object_bytes: The most bytes of one stored body.
        give_up_after_s: How long a store may fail on one body.
    """

    over_bytes: int
    message_limit_bytes: int
    max_object_bytes: int
    give_up_after_s: float

    def takes(self, item: WorkItem, status_code: int, body: bytes) -> bool:
        """Say whether a response's body goes to the store."""
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


@dataclass(eq=False, slots=True)
class Deposit:
    """A response body on its way to the store.

    Attributes:
        item: The record that it answers.
        status_code: The response's.
        body: UTF-8 JSON.
        failed_at_s: Monotonic seconds when the store failed on it first.
        attempts: How often the store failed on it.
    """

    item: WorkItem
    status_code: int
    body: bytes
    failed_at_s: float | None = None
    attempts: int = 0

    @property
    def name(self) -> str:
        """What its object is called, save for the checksum: the same for every redelivery."""
        return result_id(*self.item.record.partition, self.item.record.offset)

    @property
    def is_wanted(self) -> bool:
        """Whether its result may still be published from here."""
        return not self.item.assignment.revoked


@dataclass(eq=False, slots=True)
class Fetch:
    """A request body on its way from the store.

    Attributes:
        item: The record that refers to it.
        url: The endpoint of the request.
        reference: Where it lies.
        size_bytes: Its size, as told by the reference or by the store; ``None`` until known.
        failed_at_s: Monotonic seconds when the store failed on it first.
        attempts: How often the store failed on it.
    """

    item: WorkItem
    url: str
    reference: RequestBodyReference
    size_bytes: int | None
    failed_at_s: float | None = None
    attempts: int = 0

    @property
    def is_wanted(self) -> bool:
        """Whether the record is still to be computed."""
        return self.item.is_wanted()


Move = Deposit | Fetch


@dataclass(frozen=True, slots=True)
class Deposited:
    """A deposit lies in the store, safely."""

    reference: BodyReference


@dataclass(frozen=True, slots=True)
class Measured:
    """The store told the size of a body that is to be fetched."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body was fetched, and is what its reference says."""

    body: bytes


@dataclass(frozen=True, slots=True)
class BodyRefused:
    """The reference leads nowhere, or to what it does not say; asking again would not help."""

    status_code: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class MoveFailed:
    """The store failed: no fault of the record."""

    reason: str


MoveEnd = Deposited | Measured | Fetched | BodyRefused | MoveFailed


class BodyRefusedError(Exception):
    """A store's answer to a reference that cannot be followed.

    Args:
        refused: What to tell the asker.
    """

    def __init__(self, refused: BodyRefused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class StoreError(Exception):
    """The object store failed, or does not answer; trying again may help."""


class BodyStore(Protocol):
    """An object store, as the consumer needs it."""

    async def write(self, name: str, body: bytes) -> BodyReference:
        """Store a body; when this returns it is there to stay.

        Writing the same body under the same name again changes nothing.

        Raises:
            StoreError: The store failed.
        """
        ...

    async def size_bytes(self, url: str) -> int:
        """Return an object's size, which is one that may be read.

        Raises:
            BodyRefusedError: The url may not be followed, or leads to nothing that may be read.
            StoreError: The store failed.
        """
        ...

    async def read(self, reference: RequestBodyReference) -> bytes:
        """Return what a reference leads to, if it is of the size and checksum that it says.

        Raises:
            BodyRefusedError: It may not be followed, or leads to nothing or to something else.
            StoreError: The store failed.
        """
        ...

    def close(self) -> None:
        """Let go of what the store holds here."""
        ...


class BodyMoves:
    """Which bodies move, and which wait.

    Memory is bounded: a body is fetched only where admission has room for all of its bytes, or no
    other fetched body is held. Deposits are counted as results are; they go first, as each one
    that ends frees its bytes.

    Args:
        admission: Counts what is held.
        retry: Backoff after the store failed.
        jitter: Randomness of the backoff.
        give_up_after_s: How long a store may fail on one body.
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
        self._fetches: deque[Fetch] = deque()
        self._failed: Schedule[Move] = Schedule()
        self._running: dict[Move, int] = {}
        self._reserved_bytes = 0
        self._fetched: deque[WorkItem] = deque()

    def add(self, move: Move) -> None:
        """Queue a body."""
        if isinstance(move, Deposit):
            self._deposits.append(move)
        else:
            self._fetches.append(move)

    def __len__(self) -> int:
        """Return how many bodies move or wait."""
        waiting = len(self._deposits) + len(self._fetches) + len(self._failed)
        return waiting + len(self._running)

    @property
    def has_deposits(self) -> bool:
        """Whether any response body moves or waits."""
        return bool(self._deposits) or any(
            isinstance(move, Deposit) for move in (*self._running, *self._failed.items())
        )

    def requests(self) -> list[WorkItem]:
        """Return the records whose own bodies move or wait."""
        moves = (*self._running, *self._fetches, *self._failed.items())
        return [move.item for move in moves if isinstance(move, Fetch)]

    def next_move(self, now_s: float) -> Move | None:
        """Start the next move, if one may start now; tell ``ended`` how it went."""
        for move in self._failed.take_due(now_s):
            self.add(move)
        if len(self._running) >= MAX_MOVES:
            return None
        if self._deposits:
            return self._start(self._deposits.popleft())
        while self._fetches and not self._fetches[0].is_wanted:
            self._fetches.popleft()
        if self._fetches and self._has_room(self._fetches[0]):
            fetch = self._fetches.popleft()
            return self._start(fetch, fetch.size_bytes or 0)
        return None

    def ended(self, move: Move) -> None:
        """Take note that a started move is over, well or not."""
        reserved_bytes = self._running.pop(move)
        self._reserved_bytes -= reserved_bytes
        self._admission.grow(-reserved_bytes)

    def holds(self, item: WorkItem) -> None:
        """Take note that the engine holds a fetched body, until the item's outcome is decided."""
        self._fetched.append(item)
        if len(self._fetched) > 2 * self._admission.held_records + _SPARE_ENTRIES:
            self._fetched = deque(each for each in self._fetched if each.is_wanted())

    def try_again(self, move: Move, now_s: float) -> bool:
        """Schedule a move that failed; False where it is to be given up instead."""
        move.attempts += 1
        if move.failed_at_s is None:
            move.failed_at_s = now_s
        if now_s - move.failed_at_s >= self._give_up_after_s:
            return False
        self._failed.add(now_s + self._retry.backoff_s(move.attempts, self._jitter), move)
        return True

    def next_due_in_s(self, now_s: float) -> float | None:
        """Return in how many seconds a failed move is to be tried again, if there is one."""
        due_at_s = self._failed.next_at()
        return None if due_at_s is None else max(0.0, due_at_s - now_s)

    def _start(self, move: Move, reserved_bytes: int = 0) -> Move:
        self._running[move] = reserved_bytes
        self._reserved_bytes += reserved_bytes
        self._admission.grow(reserved_bytes)
        return move

    def _has_room(self, fetch: Fetch) -> bool:
        if fetch.size_bytes is None:
            return True
        if self._admission.held_bytes + fetch.size_bytes <= self._admission.max_bytes:
            return True
        while self._fetched and not self._fetched[0].is_wanted():
            self._fetched.popleft()
        return not self._fetched and not self._reserved_bytes


def splice_body(custom_id: str, url: str, body: bytes) -> bytes | None:
    """Return the request line with a fetched body in it; ``None`` where that is no JSON object."""
    try:
        is_object = isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return None
    if not is_object:
        return None
    head = orjson.dumps({"custom_id": custom_id, "method": "POST", "url": url})
    return b"".join((head[:-1], b',"body":', body, b"}"))
