"""When what last came, and what a job therefore waits for."""

from headrace_client.jobs.states import WaitsFor


class Activity:
    """Times at which a job last read, sent, was answered, and wrote.

    Args:
        now: The time at which all begins.
    """

    def __init__(self, now: float) -> None:
        self.read_at = self.busy_at = self.acknowledged_at = now
        self.answered_at = self.written_at = self.paused_at = now

    @staticmethod
    def waits_for(
        *,
        is_turn: bool,
        in_flight: int,
        unacknowledged: int,
        in_hand: int,
        is_paused: bool,
        has_input_ended: bool,
    ) -> WaitsFor:
        """What a job that has not ended waits for, the cause before its effects."""
        if is_turn:
            return WaitsFor.WRITING
        if in_flight:
            return WaitsFor.BROKER if unacknowledged >= in_flight else WaitsFor.RESULTS
        if in_hand:
            return WaitsFor.WRITING
        if is_paused:
            return WaitsFor.RESUME
        return WaitsFor.NOTHING if has_input_ended else WaitsFor.INPUT

    def since(self, waits_for: WaitsFor) -> float:
        """Since when nothing came of what the job waits for."""
        if waits_for is WaitsFor.BROKER:
            return max(self.acknowledged_at, self.busy_at)
        if waits_for is WaitsFor.RESULTS:
            return max(self.answered_at, self.busy_at)
        if waits_for is WaitsFor.WRITING:
            return max(self.written_at, self.busy_at)
        if waits_for is WaitsFor.RESUME:
            return self.paused_at
        return self.read_at if waits_for is WaitsFor.INPUT else self.written_at
