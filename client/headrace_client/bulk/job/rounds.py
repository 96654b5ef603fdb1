"""What a run of the command is to do: begin, go on, try failed rows again, or nothing. Pure.

A job that has ended may be run again: for rows that failed, or because the input has grown. Each
time is a *round*, with items and a name on the wire of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One time through the input.

    Attributes:
        number: From 1.
        retries_failed: Rows of the failed file are in it.
        from_row: All rows from this one on are in it; in the first round it is 0.
        checkpoint: What was kept of it; ``None`` if it is new.
    """

    number: int
    retries_failed: bool = False
    from_row: int = 0
    checkpoint: Mapping[str, Any] | None = None

    def wire_name(self, job: str) -> str:
        return job if self.number == 1 else f"{job}.{self.number}"

    def note(self) -> dict[str, Any]:
        """What the checkpoint holds of it."""
        return {
            "round": self.number,
            "retries_failed": self.retries_failed,
            "from_row": self.from_row,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A job with nothing left to do: rows of OUT and of the failed file."""

    rows: int
    failed_rows: int


Next = Round | Ended


def next_round(kept: Mapping[str, Any] | None, *, retry_failed: bool, has_grown: bool) -> Next:
    """Return what is to be done.

    Args:
        kept: The last checkpoint; ``None`` for a new job.
        retry_failed: Rows that failed are to be tried again.
        has_grown: Whether the input has rows that the job has not read.
    """
    if kept is None:
        return Round(number=1)
    ended = kept.get("ended")
    if ended is None:
        return round_of(kept)
    # New rows bring the failed ones along: one pass over OUT puts both at their places.
    retries = (retry_failed or has_grown) and ended["failed_rows"] > 0
    if retries or has_grown:
        return Round(number=kept["round"] + 1, retries_failed=retries, from_row=ended["rows_read"])
    return Ended(rows=ended["rows"], failed_rows=ended["failed_rows"])


def round_of(kept: Mapping[str, Any]) -> Round:
    """Return the round that a checkpoint is of."""
    return Round(
        number=kept["round"],
        retries_failed=kept["retries_failed"],
        from_row=kept["from_row"],
        checkpoint=kept,
    )
