"""How many records a caller may have in flight at the replicas of a model."""

from dataclasses import dataclass, field
from math import ceil

REPLICA_SILENT_AFTER_S = 60.0


@dataclass(slots=True, eq=False)
class CallInFlight:
    """One handle call.

    Attributes:
        records: How many of its records have no answer.
        replica: Who has them; ``None`` until a replica has named itself.
    """

    records: int
    replica: str | None = None


@dataclass(slots=True)
class _Replica:
    """One replica; ``window_records`` is 0 until it has granted a window."""

    window_records: int = 0
    in_flight_records: int = 0
    open_calls: int = 0
    seen_s: float = 0.0

    @property
    def room_records(self) -> int:
        """How many more records it may have; below 0 by what exceeds twice its window.

        Up to twice its window may be there because Serve's router had no better choice, and takes
        nothing from the other replicas. More than that is what goes to the last replica while those
        that are gone are not yet forgotten.
        """
        here = self.in_flight_records
        return max(0, self.window_records - here) - max(0, here - 2 * self.window_records)


@dataclass(slots=True)
class ReplicaWindows:
    """The windows that the replicas of one model grant this caller, and what is in flight there.

    Each replica grants its window with the outcomes that it streams, so nothing is configured
    twice. Replicas are learned from their outcomes and forgotten when they fall silent; a replica
    with an open call is not silent.

    Attributes:
        initial_records: The window until a replica has granted one.
        in_flight_records: Records handed over and not answered.
    """

    initial_records: int
    in_flight_records: int = 0
    _replicas: dict[str, _Replica] = field(default_factory=dict)
    _unplaced_records: int = 0

    @property
    def replicas(self) -> list[str]:
        """Names of the replicas that have a call or were heard lately."""
        return list(self._replicas)

    @property
    def room_records(self) -> int:
        """How many more records may go out; below 0 if too many are out."""
        windows = [each for each in self._replicas.values() if each.window_records]
        if not windows:
            return self.initial_records - self.in_flight_records
        # Serve's router chooses the replica: until one has named itself, a call may be at any.
        return sum(each.room_records for each in windows) - self._unplaced_records

    @property
    def smallest_records(self) -> int:
        """The smallest window of one replica."""
        windows = (each.window_records for each in self._replicas.values() if each.window_records)
        return min(windows, default=self.initial_records)

    def wanted_records(self, waiting: int) -> int:
        """Return this caller's demand at each replica: its part of what is in flight or waits."""
        replicas = max(1, len(self._replicas))
        return ceil((waiting + self.in_flight_records) / replicas)

    def sent(self, records: int) -> CallInFlight:
        """Count a call that goes out."""
        self.in_flight_records += records
        self._unplaced_records += records
        return CallInFlight(records)

    def heard(self, call: CallInFlight, replica: str, window_records: int, now_s: float) -> None:
        """Count a call at the replica that has named itself, with the window that it grants.

        Args:
            call: The call.
            replica: The replica's name.
            window_records: Its window; 0 leaves it as it was.
            now_s: Monotonic seconds.
        """
        if call.replica != replica:
            self._leave(call, now_s)
            call.replica = replica
            place = self._replicas.get(replica)
            if place is None:
                place = self._replicas[replica] = _Replica()
            place.in_flight_records += call.records
            place.open_calls += 1
        place = self._replicas[replica]
        place.seen_s = now_s
        if window_records > 0:
            place.window_records = window_records

    def answered(self, call: CallInFlight, records: int) -> None:
        """Count ``records`` answers of a call."""
        call.records -= records
        self.in_flight_records -= records
        if call.replica is None:
            self._unplaced_records -= records
        else:
            self._replicas[call.replica].in_flight_records -= records

    def ended(self, call: CallInFlight, now_s: float) -> None:
        """Count a call no more; its records without an answer are not in flight any longer."""
        self._leave(call, now_s)
        self.in_flight_records -= call.records
        call.records = 0

    def forget_silent(self, now_s: float) -> None:
        """Forget replicas without a call that were silent for ``REPLICA_SILENT_AFTER_S``."""
        silent = [
            name
            for name, replica in self._replicas.items()
            if not replica.open_calls and now_s - replica.seen_s > REPLICA_SILENT_AFTER_S
        ]
        silent.sort(key=lambda name: self._replicas[name].seen_s)
        # The last one's window stays: an idle route must not start again from a guess.
        for name in silent[: len(self._replicas) - 1]:
            del self._replicas[name]

    def _leave(self, call: CallInFlight, now_s: float) -> None:
        if call.replica is None:
            self._unplaced_records -= call.records
            return
        replica = self._replicas[call.replica]
        replica.in_flight_records -= call.records
        replica.open_calls -= 1
        replica.seen_s = now_s
