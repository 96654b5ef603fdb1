"""What an engine holds and what that waits for, to tell standing still from waiting."""

from collections.abc import Iterable

from consumer.engine.admission import Admission
from consumer.engine.bodies.moves import BodyMoves
from consumer.engine.calls.calls import Calls
from consumer.engine.counters import Counters
from consumer.engine.failures.recovery import Recovery
from consumer.engine.offsets.assigned_partitions import HeldPartitions
from consumer.engine.work import WorkItem

UNTAKEN_S = 10.0
"""How long a call may wait for a model replica before that is told."""
QUIET_S = 10.0
"""How long a full consumer may complete nothing before that is told."""


class Standing:
    """Looks at an engine's parts, and changes none.

    Args:
        held: The partitions.
        admission: Counts what is held.
        calls: Calls under way.
        recovery: What is to be tried again.
        body_moves: Moves of large bodies.
        counters: What happened, by kind.
    """

    def __init__(
        self,
        *,
        held: HeldPartitions,
        admission: Admission,
        calls: Calls,
        recovery: Recovery,
        body_moves: BodyMoves,
        counters: Counters,
    ) -> None:
        self._held = held
        self._admission = admission
        self._calls = calls
        self._recovery = recovery
        self._body_moves = body_moves
        self._counters = counters
        self._completed_records = 0
        self._completed_at_s: float | None = None

    def numbers(self) -> tuple[int, ...]:
        """Return numbers of which one at least changes whenever a record is read or gets on."""
        counters = self._counters
        return (
            counters.received_records,
            counters.already_done_records,
            counters.completed_records,
            counters.retried_records,
            self._admission.held_records,
            self._admission.held_bytes,
            self._calls.in_flight,
            self._calls.in_flight_records,
            sum(assignment.ledger.next_offset or 0 for assignment in self._held),
        )

    def neglected(self, waiting: Iterable[WorkItem]) -> str | None:
        """Return what waits though nothing is in its way: no call, broker, backoff or store.

        Args:
            waiting: Records that have no outcome and are in no call; some may come twice.
        """
        recovery = self._recovery
        if self._calls.in_flight or recovery.breaker.is_open or self._body_moves.is_moving:
            return None
        if recovery.next_at_s() is not None:
            return None
        records = len({id(item) for item in waiting if not item.settled})
        # Held beside these are outcomes that the broker has not acknowledged; some may wait for it.
        if not records or records < self._admission.held_records:
            return None
        return f"{records} records wait for a model replica, and none has been called"

    def waits(self, queued_records: int, now_s: float) -> list[str]:
        """Return what the partitions and records held wait for, a line each.

        Args:
            queued_records: How many wait for a model replica, or for an earlier record.
            now_s: Monotonic seconds.
        """
        return [
            *self._waits_for_model(now_s),
            *self._waits_for_room(),
            *self._waits_for_store(),
            *self._waits_in_quiet(queued_records, now_s),
        ]

    def _waits_for_model(self, now_s: float) -> list[str]:
        breaker = self._recovery.breaker
        if breaker.is_open:
            at_s = self._calls.next_probe_at_s()
            again = "it is being tried"
            if at_s is not None and at_s > now_s:
                again = f"next try in {at_s - now_s:.0f} s"
            line = (
                f"the model is down: {breaker.failures} calls failed in a row, {again}; see "
                "`serve status` and the log of its replicas"
            )
            return [line]
        since_s = self._calls.untaken_since_s()
        if since_s is None or now_s - since_s < UNTAKEN_S:
            return []
        line = (
            f"no model replica takes a call: one has waited for {now_s - since_s:.0f} s; replicas "
            "are not there yet, or have no room (`serve status`)"
        )
        return [line]

    def _waits_for_room(self) -> list[str]:
        return [
            f"partition {partition.partition} is held up by offset {offset}: that is not done, "
            "and the completion map is full, so nothing beyond is read"
            for partition, offset in self._held.held_up().items()
        ]

    def _waits_in_quiet(self, queued_records: int, now_s: float) -> list[str]:
        """Return what stands still; a busy consumer is full all the time, and is not told of."""
        completed_records = self._counters.completed_records
        has_moved = completed_records != self._completed_records
        if self._completed_at_s is None or has_moved or not self._admission.held_records:
            self._completed_records, self._completed_at_s = completed_records, now_s
        quiet_s = now_s - self._completed_at_s
        if quiet_s < QUIET_S:
            return []
        lines = []
        admission = self._admission
        elsewhere = queued_records + self._calls.in_flight_records + len(self._body_moves)
        outcomes = admission.held_records - elsewhere - len(self._recovery.waiting())
        if outcomes > 0:
            lines.append(
                f"the brokers acknowledge nothing: {outcomes:,} outcomes wait, and none was taken "
                f"for {quiet_s:.0f} s; check that the results topic can be written to"
            )
        if not admission.allowance_records():
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
        failing = self._body_moves.failing()
        if not failing:
            return []
        bodies = f"{len(failing)} bodies are to be moved again"
        return [f"the object store fails: {bodies}; {failing[0].failure}"]
