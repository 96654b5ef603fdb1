"""How many records a caller may have in flight at the replicas of a model."""

from dataclasses import dataclass, field
from math import ceil

REPLICA_SILENT_AFTER_S = 60.0


@dataclass(slots=True)
class _Place:
    """A replica, or the place of calls until one has named itself; a window of 0 is not granted."""

    replica: str = ""
    window_records: int = 0
    in_flight_records: int = 0
    open_calls: int = 0
    seen_s: float = 0.0

    @property
    def room_records(self) -> int:
        """How many more records it may have; negative beyond twice its window.

        It may have up to twice its window because Serve's router had no better choice, which takes
        nothing from the other replicas. Beyond that are records that go to the last replica while
        lost ones are not yet forgotten.
        """
        here = self.in_flight_records
        return max(0, self.window_records - here) - max(0, here - 2 * self.window_records)


@dataclass(slots=True, eq=False)
class CallInFlight:
    """One handle call; ``records`` is how many of its records are unanswered."""

    records: int
    place: _Place

    @property
    def replica(self) -> str | None:
        """The replica that has it; ``None`` until one has named itself."""
        return self.place.replica or None


@dataclass(slots=True)
class ReplicaWindows:
    """The windows that the replicas of one model grant this caller, and the records in flight.

    Each replica grants its window with the outcomes that it streams, so nothing is configured
    twice. Replicas are learned from their outcomes and forgotten when they fall silent; a replica
    with an open call is not silent. Until one grants a window, it has ``initial_records``.
    """

    initial_records: int
    in_flight_records: int = 0
    _replicas: dict[str, _Place] = field(default_factory=dict)
    _unplaced: _Place = field(default_factory=_Place)

    @property
    def replicas(self) -> list[str]:
        return list(self._replicas)

    @property
    def room_records(self) -> int:
        """How many more records may go out; negative if too many are out."""
        windows = [each for each in self._replicas.values() if each.window_records]
        if not windows:
            return self.initial_records - self.in_flight_records
        # Serve's router chooses the replica: until one has named itself, a call may be at any.
        return sum(each.room_records for each in windows) - self._unplaced.in_flight_records

    @property
    def smallest_records(self) -> int:
        windows = (each.window_records for each in self._replicas.values() if each.window_records)
        return min(windows, default=self.initial_records)

    @property
    def granted_records(self) -> int:
        """The sum of the windows that replicas have granted; 0 before any did."""
        return sum(each.window_records for each in self._replicas.values())

    def wanted_records(self, waiting: int) -> int:
        """Return this caller's demand at each replica: its part of what is in flight or waits."""
        replicas = max(1, len(self._replicas))
        return ceil((waiting + self.in_flight_records) / replicas)

    def sent(self, records: int) -> CallInFlight:
        self.in_flight_records += records
        self._unplaced.in_flight_records += records
        self._unplaced.open_calls += 1
        return CallInFlight(records, self._unplaced)

    def heard(self, call: CallInFlight, replica: str, window_records: int, now_s: float) -> None:
        if call.place.replica != replica:
            self._leave(call, now_s)
            if replica not in self._replicas:
                self._replicas[replica] = _Place(replica)
            call.place = self._replicas[replica]
            call.place.in_flight_records += call.records
            call.place.open_calls += 1
        call.place.seen_s = now_s
        if window_records > 0:
            call.place.window_records = window_records

    def answered(self, call: CallInFlight, records: int) -> None:
        call.records -= records
        self.in_flight_records -= records
        call.place.in_flight_records -= records

    def ended(self, call: CallInFlight, now_s: float) -> None:
        self._leave(call, now_s)
        self.in_flight_records -= call.records
        call.records = 0

    def forget_silent(self, now_s: float) -> None:
        """Forget replicas without a call that were silent for ``REPLICA_SILENT_AFTER_S``."""
        silent = [
            each
            for each in self._replicas.values()
            if not each.open_calls and now_s - each.seen_s > REPLICA_SILENT_AFTER_S
        ]
        silent.sort(key=lambda each: each.seen_s)
        # The last one's window stays: an idle route must not start again from a guess.
        for each in silent[: len(self._replicas) - 1]:
            del self._replicas[each.replica]

    def _leave(self, call: CallInFlight, now_s: float) -> None:
        call.place.in_flight_records -= call.records
        call.place.open_calls -= 1
        call.place.seen_s = now_s
