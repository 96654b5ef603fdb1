"""A scaling decision with its reasons."""

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Clamp(Enum):
    """Why the target differs from what the backlog asks for."""

    NOTHING = "nothing"
    MIN_REPLICAS = "min_replicas"
    MAX_REPLICAS = "max_replicas"
    PARTITIONS = "partitions"
    """Consumers beyond the number of partitions have nothing to read."""
    RATE_LIMIT = "rate_limit"
    """The routes' limits on their rate let no more through."""
    PARALLELISM = "parallelism"
    """The route's ordering allows no more records in flight."""
    DOWNSCALE_DELAY = "downscale_delay"
    """More replicas were wanted within the delay."""
    HELD = "held"
    """The lag is unknown, so nothing changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How many replicas there should be, and why.

    Attributes:
        wanted: What the backlog asks for, before any clamp; may be a fraction.
        remaining_s: How long the remaining records take at the running replicas' throughput.
        arrival_records_per_s: The usual rate of the last minute, without bursts.
        notes: For a person: what is unknown, or held.
    """

    target: int
    previous: int
    running: int
    wanted: float
    clamp: Clamp
    remaining_records: int
    remaining_s: float | None
    oldest_s: float
    arrival_records_per_s: float
    replica_records_per_s: float | None
    cold_start_s: float
    remaining_tokens: int | None = None
    ongoing_calls: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def is_change(self) -> bool:
        return self.target != self.previous

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "clamp": self.clamp.value, "notes": list(self.notes)}

    def __str__(self) -> str:
        rate = self.replica_records_per_s
        ways = [] if self.remaining_s is None else [f"{self.remaining_s:.1f} s"]
        if self.remaining_tokens is not None:
            ways.append(f"{self.remaining_tokens} tokens")
        left = f" ({', '.join(ways)})" if ways else ""
        parts = [
            f"{self.previous} -> {self.target} replicas ({self.running} run)",
            f"{self.remaining_records} records remain{left}, the oldest for {self.oldest_s:.0f} s",
            f"{self.arrival_records_per_s:.1f} records/s arrive",
            "a replica's rate is not known yet" if rate is None else f"a replica does {rate:.1f}/s",
            f"one starts in {self.cold_start_s:.0f} s",
            f"{self.ongoing_calls:.0f} calls are ongoing",
            f"wanted {self.wanted:.2f}",
        ]
        if self.clamp is not Clamp.NOTHING:
            parts.append(f"clamped by {self.clamp.value}")
        return "; ".join((*parts, *self.notes))
