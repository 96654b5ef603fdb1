"""Queues the requests for one step's model, and decides how many go out when."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from handoff.breaker import CircuitBreaker
from handoff.dispatch import chunk_records, full_chunk_records
from handoff.windows import CallInFlight, ReplicaWindows

Item = TypeVar("Item")

APART_AFTER_LOSS_S = 120.0
"""Longer than all backoffs of a record that kills its replica, until it is isolated."""


class StepQueue(Generic[Item]):
    """Requests of many records for one model, sent by the same rules as a consumer's.

    For a while after a lost call, requests of different origins travel apart: a consumer isolates a
    record that kills its replica by sending it in smaller company, which must also hold here.

    Args:
        initial_records: The window until a replica has granted one.
        origin: Returns the incoming call of an item.
    """

    def __init__(self, initial_records: int, origin: Callable[[Item], object]) -> None:
        self._origin = origin
        self._waiting: deque[Item] = deque()
        self._windows = ReplicaWindows(initial_records)
        self._breaker = CircuitBreaker()
        self._apart_until_s = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._waiting)

    @property
    def in_flight(self) -> int:
        return self._windows.in_flight_records

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= full_chunk_records(self._windows.smallest_records)

    @property
    def wanted_records(self) -> int:
        """The demand to state with a call: how many requests to have at each replica."""
        return self._windows.wanted_records(len(self._waiting))

    def add(self, item: Item) -> None:
        self._waiting.append(item)

    def keep(self, is_wanted: Callable[[Item], bool]) -> None:
        self._waiting = deque(item for item in self._waiting if is_wanted(item))

    def take(self, now_s: float) -> list[Item]:
        """Remove and return the requests of the next call; empty if it has to wait.

        Call ``sent`` with the number that goes out before the next ``take``.
        """
        self._windows.forget_silent(now_s)
        if not self._breaker.may_call(now_s, self.in_flight):
            return []
        wanted = chunk_records(
            queued=len(self._waiting),
            room_records=self._windows.room_records,
            smallest_window=self._windows.smallest_records,
        )
        if not wanted:
            return []
        items = [self._waiting.popleft()]
        while len(items) < wanted:
            is_mixed = self._origin(self._waiting[0]) is not self._origin(items[0])
            if is_mixed and now_s < self._apart_until_s:
                break
            items.append(self._waiting.popleft())
        return items

    def sent(self, records: int) -> CallInFlight:
        return self._windows.sent(records)

    def pause_s(self, now_s: float) -> float | None:
        """Return how long the breaker stays open; ``None`` if it is closed or a probe is out."""
        probe_at_s = self._breaker.next_probe_at_s()
        if probe_at_s is None or self.in_flight or now_s >= probe_at_s:
            return None
        return probe_at_s - now_s

    def heard(
        self, call: CallInFlight, answered: int, replica: str, window_records: int, now_s: float
    ) -> None:
        """Count what a replica streamed back: ``answered`` requests now have their outcome.

        ``replica`` is empty if it has not named itself; ``now_s`` is monotonic.
        """
        if replica:
            self._windows.heard(call, replica, window_records, now_s)
        self._windows.answered(call, answered)
        if answered:
            self._breaker.answered(now_s)

    def ended(self, call: CallInFlight, now_s: float) -> None:
        self._windows.ended(call, now_s)

    def lost(self, now_s: float, *, had_answers: bool) -> None:
        self._apart_until_s = now_s + APART_AFTER_LOSS_S
        if not had_answers:
            self._breaker.call_failed(now_s)
