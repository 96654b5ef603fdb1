"""What an engine holds and what that waits for, to separate a stall from a wait."""

from dataclasses import dataclass, field

from consumer.engine.admission import Admission
from consumer.engine.bodies.moves import BodyMoves
from consumer.engine.calls.calls import Calls
from consumer.engine.counters import Counters
from consumer.engine.failures.isolation import Isolation
from consumer.engine.offsets.assigned_partitions import AssignedPartitions
from consumer.engine.replies.look_ups import LookUps
from consumer.engine.replies.parked import Parked

UNTAKEN_S = 10.0
"""A call that waits longer for a model replica is reported."""
QUIET_S = 10.0
"""A full consumer that completes nothing for longer is reported."""


@dataclass(eq=False, kw_only=True, slots=True)
class Standing:
    assigned: AssignedPartitions
    admission: Admission
    calls: Calls
    isolation: Isolation
    body_moves: BodyMoves
    parked: Parked
    look_ups: LookUps
    counters: Counters
    _completed_records: int = field(default=0, init=False)
    _completed_at_s: float | None = field(default=None, init=False)

    def numbers(self) -> tuple[int, ...]:
        """Return numbers; some change whenever a record is read or makes progress."""
        counters = self.counters
        return (
            counters.received_records,
            counters.already_done_records,
            counters.completed_records,
            counters.retried_records,
            self.admission.held_records,
            self.admission.held_bytes,
            self.calls.in_flight,
            self.calls.windows.in_flight_records,
            sum(assignment.ledger.next_offset or 0 for assignment in self.assigned),
        )

    def neglected(self, waiting_records: int) -> str | None:
        """Return what waits though nothing is in its way: no call, broker, backoff or store."""
        isolation = self.isolation
        if self.calls.in_flight or isolation.breaker.is_open or self.body_moves.is_moving:
            return None
        if isolation.next_at_s() is not None or self.calls.limiter.is_holding:
            return None
        # The other held records are outcomes without acknowledgement; some of these may wait for
        # it.
        if not waiting_records or waiting_records < self.admission.held_records:
            return None
        return f"{waiting_records} records wait for a model replica, and none has been called"

    def waits(self, queued_records: int, now_s: float) -> list[str]:
        return [
            *self._waits_for_limit(queued_records, now_s),
            *self._waits_for_model(now_s),
            *self._waits_for_room(),
            *self._waits_for_store(),
            *self._waits_in_quiet(queued_records, now_s),
        ]

    def _waits_for_model(self, now_s: float) -> list[str]:
        breaker = self.isolation.breaker
        if breaker.is_open:
            at_s = self.calls.next_probe_at_s()
            again = "it is being tried"
            if at_s is not None and at_s > now_s:
                again = f"next try in {at_s - now_s:.0f} s"
            line = (
                f"the model is down: {breaker.failures} calls failed in a row, {again}; see "
                "`serve status` and the log of its replicas"
            )
            return [line]
        since_s = self.calls.untaken_since_s()
        if since_s is None or now_s - since_s < UNTAKEN_S:
            return []
        line = (
            f"no model replica takes a call: one has waited for {now_s - since_s:.0f} s; replicas "
            "are not there yet, or have no room (`serve status`)"
        )
        return [line]

    def _waits_for_limit(self, queued_records: int, now_s: float) -> list[str]:
        limiter = self.calls.limiter
        if not limiter.has_held(now_s):
            return []
        line = (
            f"limited to {limiter.describe()} by the route's flow: {queued_records:,} records wait "
            f"here, and this consumer has {limiter.share:.0%} of the limit"
        )
        return [line]

    def _waits_for_room(self) -> list[str]:
        return [
            f"partition {partition.partition} is held up by offset {offset}: that is not done, "
            "and the completion map is full, so nothing beyond is read"
            for partition, offset in self.assigned.at_their_limit().items()
        ]

    def _waits_in_quiet(self, queued_records: int, now_s: float) -> list[str]:
        completed_records = self.counters.completed_records
        has_moved = completed_records != self._completed_records
        if self._completed_at_s is None or has_moved or not self.admission.held_records:
            self._completed_records, self._completed_at_s = completed_records, now_s
        quiet_s = now_s - self._completed_at_s
        if quiet_s < QUIET_S:
            return []
        lines = []
        admission = self.admission
        elsewhere = queued_records + self.calls.windows.in_flight_records + len(self.body_moves)
        elsewhere += len(self.isolation.delayed()) + self.parked.records
        if looking_up := sum(1 for _ in self.look_ups.items()):
            elsewhere += looking_up
            lines.append(
                f"reply topics are looked up: {looking_up:,} records wait to know whether theirs "
                "exist, and the brokers do not say"
            )
        outcomes = admission.held_records - elsewhere
        if outcomes > 0:
            lines.append(
                f"the brokers acknowledge nothing: {outcomes:,} outcomes wait, and none was taken "
                f"for {quiet_s:.0f} s; check that the results topic can be written to"
            )
        if not admission.allowance_records() and not self.calls.limiter.has_held(now_s):
            setting, most, held = (
                ("flow.max_records", admission.max_records, admission.held_records)
                if admission.held_records >= admission.max_records
                else ("flow.max_bytes", admission.max_bytes, admission.held_bytes)
            )
            lines.append(
                f"admission is full ({setting} {most:,}): {held:,} are held, and no record has "
                f"been completed for {quiet_s:.0f} s"
            )
        return lines

    def _waits_for_store(self) -> list[str]:
        failing = self.body_moves.failing()
        if not failing:
            return []
        bodies = f"{len(failing)} bodies are to be moved again"
        return [f"the object store fails: {bodies}; {failing[0].failure}"]
