"""What waits for one step's model, and how much of it goes out when. Pure: time is an argument."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from handoff.windows import CallInFlight, ReplicaWindows

Item = TypeVar("Item")

APART_AFTER_LOSS_S = 120.0
"""Longer than a retry pauses: by then a record that kills its replica has stood alone."""
LOSSES_TO_PAUSE = 3
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0


class StepQueue(Generic[Item]):
    """Requests of many records for one model.

    As many are in flight as the model's replicas ask for with their outcomes, the rest waits here.
    A call takes all that waits, or as much as one call should carry.

    After a call was lost, requests of different origins travel apart for a while: whoever sent a
    record that kills its replica sends it again in smaller company, and that must hold here too.
    After several calls in a row were lost without an answer, one call at a time tries whether the
    model is back, so that a model that is down does not use up the attempts of all that wait.

    Args:
        initial_records: The window before any replica has said what it wants.
        calls_per_window: Into how many calls a replica's window is divided.
        origin: Tells which call of a consumer an item came in.
    """

    def __init__(
        self, initial_records: int, calls_per_window: int, origin: Callable[[Item], object]
    ) -> None:
        self._calls_per_window = calls_per_window
        self._origin = origin
        self._waiting: deque[Item] = deque()
        self._windows = ReplicaWindows(initial_records)
        self._losses = 0
        self._next_probe_s = 0.0
        self._apart_until_s: float | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Requests handed over and unanswered."""
        return self._windows.in_flight_records

    @property
    def is_full(self) -> bool:
        """Whether a call's worth of requests waits."""
        return len(self._waiting) >= self._call_records

    def add(self, item: Item) -> None:
        """Put a request at the end."""
        self._waiting.append(item)

    def keep(self, is_wanted: Callable[[Item], bool]) -> None:
        """Drop the waiting requests that nobody wants any more."""
        self._waiting = deque(item for item in self._waiting if is_wanted(item))

    def take(self, now_s: float) -> list[Item]:
        """Take the requests of the next call out; empty where it has to wait.

        Say with ``sent`` how many of them go out before the next are taken.
        """
        self._windows.forget_silent(now_s)
        if self._is_paused and (self.in_flight or now_s < self._next_probe_s):
            return []
        wanted = min(self._call_records, len(self._waiting))
        if not wanted or self._windows.room_records < wanted:
            return []
        is_apart = self._apart_until_s is not None and now_s < self._apart_until_s
        items = [self._waiting.popleft()]
        while len(items) < wanted:
            if is_apart and self._origin(self._waiting[0]) is not self._origin(items[0]):
                break
            items.append(self._waiting.popleft())
        return items

    @property
    def wanted_records(self) -> int:
        """How many requests to have at each replica of the model, if they might go out."""
        return self._windows.wanted_records(len(self._waiting))

    def sent(self, records: int) -> CallInFlight:
        """Take note of a call that goes out; they are in flight until ``heard`` or ``ended``."""
        return self._windows.sent(records)

    def pause_s(self, now_s: float) -> float | None:
        """Return for how long nothing goes out, whatever waits; ``None`` where it does not."""
        if not self._is_paused or self.in_flight or now_s >= self._next_probe_s:
            return None
        return self._next_probe_s - now_s

    def heard(
        self, call: CallInFlight, answered: int, replica: str, window_records: int, now_s: float
    ) -> None:
        """Take note of what a replica streamed back.

        Args:
            call: The call.
            answered: How many of its requests have their outcome by this.
            replica: Who has the call; empty where it is not said.
            window_records: How many requests that replica wants in flight from here.
            now_s: Monotonic seconds.
        """
        if replica:
            self._windows.heard(call, replica, window_records, now_s)
        self._windows.answered(call, answered)
        if answered:
            self._losses = 0

    def ended(self, call: CallInFlight, now_s: float) -> None:
        """Take note that a call is over."""
        self._windows.ended(call, now_s)

    def lost(self, now_s: float, *, had_answers: bool) -> None:
        """Take note that a call failed as a whole, or what was left of it."""
        self._apart_until_s = now_s + APART_AFTER_LOSS_S
        if had_answers:
            return
        self._losses += 1
        if self._is_paused:
            doublings = min(self._losses - LOSSES_TO_PAUSE, 10)
            self._next_probe_s = now_s + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**doublings)

    @property
    def _is_paused(self) -> bool:
        return self._losses >= LOSSES_TO_PAUSE

    @property
    def _call_records(self) -> int:
        return max(1, self._windows.smallest_records // self._calls_per_window)
