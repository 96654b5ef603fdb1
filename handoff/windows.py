"""What a caller may have in flight at a model's replicas: its half of the handoff.

Pure. Consumers and pipelines both call models, and read ``Outcomes.window_records`` by this.
"""

from dataclasses import dataclass, field
from math import ceil

REPLICA_SILENT_AFTER_S = 60.0


@dataclass(slots=True, eq=False)
class CallInFlight:
    """One handle call's records without an answer.

    Attributes:
        records: How many.
        replica: Who has them; ``None`` until a replica has named itself.
    """

    records: int
    replica: str | None = None


@dataclass(slots=True)
class _Replica:
    """What is known of one replica; ``window_records`` is 0 until it has said what it wants."""

    window_records: int = 0
    in_flight_records: int = 0
    open_calls: int = 0
    seen_s: float = 0.0

    @property
    def room_records(self) -> int:
        """How many more it may have; below 0 what it has over twice its window.

        So much too much may be where the router had no better choice, and is no matter of the
        others'. More is what goes to the last one while those that are gone are not yet forgotten.
        """
        held = self.in_flight_records
        return max(0, self.window_records - held) - max(0, held - 2 * self.window_records)


@dataclass(slots=True)
class ReplicaWindows:
    """How many more records may go out: the room in the windows of the replicas seen lately.

    Each model replica says with its outcomes how many records it wants in flight from this
    caller; nothing has to be configured twice, and replicas that come and go are noticed by the
    outcomes that come and stop coming. A replica that works on a call of ours is not gone, however
    long it is silent, and what it holds, up to twice its window, takes nothing from the others'.

    Attributes:
        initial_records: The window before any replica has said what it wants.
        in_flight_records: Records that are handed over and have no answer.
    """

    initial_records: int
    in_flight_records: int = 0
    _replicas: dict[str, _Replica] = field(default_factory=dict)
    _placeless_records: int = 0

    def sent(self, records: int) -> CallInFlight:
        """Take note of a call that goes out; whichever replica takes it will name itself."""
        self.in_flight_records += records
        self._placeless_records += records
        return CallInFlight(records)

    def heard(self, call: CallInFlight, replica: str, window_records: int, now_s: float) -> None:
        """Take note that a replica has a call, and of what it asks for.

        Args:
            call: The call.
            replica: The replica's name.
            window_records: What it wants in flight; 0 where it leaves that as it was.
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
        """Take note that so many of a call's records have their outcome."""
        call.records -= records
        self.in_flight_records -= records
        if call.replica is None:
            self._placeless_records -= records
        else:
            self._replicas[call.replica].in_flight_records -= records

    def ended(self, call: CallInFlight, now_s: float) -> None:
        """Take note that a call is over; its records without an answer are in flight no more."""
        self._leave(call, now_s)
        self.in_flight_records -= call.records
        call.records = 0

    def forget_silent(self, now_s: float) -> None:
        """Drop the replicas that have no call and were silent for ``REPLICA_SILENT_AFTER_S``."""
        silent = [
            name
            for name, replica in self._replicas.items()
            if not replica.open_calls and now_s - replica.seen_s > REPLICA_SILENT_AFTER_S
        ]
        silent.sort(key=lambda name: self._replicas[name].seen_s)
        # The last one's word stands: an idle route must not start again from a guess.
        for name in silent[: len(self._replicas) - 1]:
            del self._replicas[name]

    @property
    def replicas(self) -> list[str]:
        """Names of the model replicas that have a call or have been heard lately."""
        return list(self._replicas)

    @property
    def room_records(self) -> int:
        """How many more records may go out now; below 0 where too many are out."""
        windows = [each for each in self._replicas.values() if each.window_records]
        if not windows:
            return self.initial_records - self.in_flight_records
        # Which replica a call goes to is not this caller's choice: until one has named itself, the
        # call may have gone to any.
        return sum(each.room_records for each in windows) - self._placeless_records

    @property
    def smallest_records(self) -> int:
        """The smallest window of any one replica."""
        windows = (each.window_records for each in self._replicas.values() if each.window_records)
        return min(windows, default=self.initial_records)

    def wanted_records(self, waiting: int) -> int:
        """Return how many records to have at each replica, of those in flight and ``waiting``."""
        replicas = max(1, len(self._replicas))
        return ceil((waiting + self.in_flight_records) / replicas)

    def _leave(self, call: CallInFlight, now_s: float) -> None:
        if call.replica is None:
            self._placeless_records -= call.records
            return
        replica = self._replicas[call.replica]
        replica.in_flight_records -= call.records
        replica.open_calls -= 1
        replica.seen_s = now_s
