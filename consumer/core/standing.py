"""What an engine holds and what that waits for, to tell standing still from waiting."""

from collections.abc import Iterable

from consumer.core.admission import Admission
from consumer.core.body_moves import BodyMoves
from consumer.core.calls import Calls
from consumer.core.counters import Counters
from consumer.core.held_partitions import HeldPartitions
from consumer.core.recovery import Recovery
from consumer.core.work import WorkItem


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
