"""Which body moves next, when a move that failed is tried again, and when it is given up.

Moves run beside everything else, so that a slow store holds back nothing but the records that need
it.
"""

import random
from bisect import insort
from collections import deque

from consumer.engine.admission import Admission
from consumer.engine.bodies.claims import MAX_MOVES, Deposit, Fetch, Move
from consumer.engine.failures.retry import RetryPolicy
from consumer.engine.schedule import Schedule
from consumer.engine.work import WorkItem

PATIENCE_S = 5.0
"""A body that has had no room for this long is passed by no more: smaller ones would take the room
that it waits for again and again."""
_LOOK_AHEAD = 64
"""How many bodies without room are passed: what is asked at every turn must not cost a backlog."""


class BodyMoves:
    """Which bodies move, and which wait.

    Memory is bounded: a body is fetched only where admission has room for all of its bytes, or no
    other fetched body is held. So whatever is fetched must be able to go to the model at once: the
    body of a record that is held in its lane is left in the store until the lane lets it go. It
    would keep the room that the earlier record needs, and neither would ever go.

    Deposits are counted as results are; they go first, as each one that ends frees its bytes.

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
        self._fetches: list[Fetch] = []
        self._in_lanes: dict[WorkItem, Fetch] = {}
        self._failed: Schedule[Move] = Schedule()
        # What failed and waits for its turn, with when to give it up; and the least of those times.
        self._failing: dict[Move, float] = {}
        self._judge_at_s: float | None = None
        self._running: dict[Move, int] = {}
        self._reserved_bytes = 0
        self._fetched: set[WorkItem] = set()
        self._added = 0

    def add(self, move: Move) -> None:
        """Queue a body; that of a held record waits for ``release``."""
        if isinstance(move, Deposit):
            self._deposits.append(move)
            return
        if not move.number:
            self._added += 1
            move.number = self._added
        if move.item.is_held:
            self._in_lanes[move.item] = move
        else:
            insort(self._fetches, move, key=_number)

    def release(self, item: WorkItem) -> None:
        """Take note that a record's lane lets it go, or that it is settled."""
        fetch = self._in_lanes.pop(item, None)
        if fetch is not None and fetch.is_wanted:
            self.add(fetch)

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
        """Return the records whose own bodies move or wait."""
        moves = (*self._running, *self._fetches, *self._in_lanes.values(), *self._failed.items())
        return [move.item for move in moves if isinstance(move, Fetch)]

    def next_move(self, now_s: float) -> Move | None:
        """Start the next move, if one may start now; tell ``ended`` how it went."""
        for move in self._failed.take_due(now_s):
            self.add(move)
        if len(self._running) >= MAX_MOVES:
            return None
        if self._deposits:
            return self._start(self._deposits.popleft())
        fetch = self._next_fetch(now_s)
        if fetch is None:
            return None
        if fetch.no_room_since_s is not None:
            if fetch.failed_at_s is not None:  # which is held against the store, not this
                fetch.failed_at_s += now_s - fetch.no_room_since_s
            fetch.no_room_since_s = None
        return self._start(fetch, fetch.size_bytes or 0)

    def ended(self, move: Move) -> None:
        """Take note that a started move is over, well or not."""
        reserved_bytes = self._running.pop(move)
        self._reserved_bytes -= reserved_bytes
        self._admission.grow(-reserved_bytes)

    def holds(self, item: WorkItem) -> None:
        """Take note that the engine holds a fetched body, until ``let_go``."""
        self._fetched.add(item)

    def let_go(self, item: WorkItem) -> None:
        """Take note that a fetched body is held no more."""
        self._fetched.discard(item)

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

    def next_due_in_s(self, now_s: float) -> float | None:
        """Return in how many seconds a failed move is to be tried again, if there is one."""
        due_at_s = self._failed.next_at()
        return None if due_at_s is None else max(0.0, due_at_s - now_s)

    def next_judgement_at_s(self) -> float | None:
        """Return when ``take_overdue`` is to be asked again, if anything failed."""
        return self._judge_at_s

    def _start(self, move: Move, reserved_bytes: int = 0) -> Move:
        self._failing.pop(move, None)
        self._running[move] = reserved_bytes
        self._reserved_bytes += reserved_bytes
        self._admission.grow(reserved_bytes)
        return move

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
        return not self._fetched and not self._reserved_bytes


def _number(fetch: Fetch) -> int:
    return fetch.number
