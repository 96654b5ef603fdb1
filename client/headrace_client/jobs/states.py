"""What a job is doing, and what it waits for."""

from dataclasses import dataclass
from enum import Enum


class JobState(Enum):
    RUNNING = "running"
    DRAINING = "draining"
    """All items were sent; some are not answered and written."""
    PAUSED = "paused"
    """Nothing is sent; answers are taken and written."""
    DONE = "done"
    """All items are durably written, and none failed."""
    PARTIAL = "partial"
    """All items are durably written, and some failed."""
    FAILED = "failed"
    """All items failed, or too many, or the shell gave up."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """The job's deadline passed."""

    @property
    def is_final(self) -> bool:
        return self not in (JobState.RUNNING, JobState.DRAINING, JobState.PAUSED)


class WaitsFor(Enum):
    INPUT = "input"
    """Everything that was read is answered and written, and there may be more to read."""
    BROKER = "broker"
    """Requests were sent, and no broker has acknowledged them."""
    RESULTS = "results"
    WRITING = "writing"
    """Answers are there, and are not written."""
    RESUME = "resume"
    """The job is paused."""
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a job is, and how fast.

    Args:
        items_total: ``None`` until the input ended or the shell said what to expect.
        items_answered: Distinct items, those that failed included.
        repeats: Answers that brought nothing new.
        items_per_s, tokens_per_s, bytes_per_s: Of answers, over the last ``rate_window_s``.
        eta_s: Seconds until all items are answered; ``None`` if that cannot be said.
        waits_s: For how long nothing came of what it waits for.
        active_s: How long the job has run, over all processes.
    """

    state: JobState
    items_read: int
    items_total: int | None
    items_answered: int
    items_failed: int
    items_written: int
    requests_in_flight: int
    items_in_flight: int
    bytes_in_flight: int
    repeats: int
    items_per_s: float
    tokens_per_s: float
    bytes_per_s: float
    eta_s: float | None
    waits_for: WaitsFor
    waits_s: float
    active_s: float
