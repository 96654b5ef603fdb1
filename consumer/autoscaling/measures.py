"""What a route's consumers have measured, and what it says about how much can run side by side."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from consumer.autoscaling.lag import Backlog

Ordering = Literal["none", "key", "partition"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMeasures:
    """One route, added up over its consumers.

    Attributes:
        tokens_per_record: The mean of what records take; ``None`` where it is not known.
        runnable_records: Records at work or ready to be; ``None`` on a route without order, where
            all of them are.
        held_records: Records that the consumers have read and not finished.
        reads_on: Whether a consumer would read more than it holds.
    """

    tokens_per_record: float | None = None
    runnable_records: int | None = None
    held_records: int = 0
    reads_on: bool = True

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from ``to_dict``'s answer; a key of a newer release is left out."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def parallel_records(
    routes: Sequence[tuple[Ordering, Backlog, RouteMeasures]],
) -> int | None:
    """Return the most records that may be at work at a time; ``None`` where nothing bounds them.

    Of a partition in order one record is at work at a time. How many keys a backlog has, nobody
    knows who has not read it: the consumers' word counts once they hold all of it, or can hold no
    more.

    Args:
        routes: Of each route its ``ordering``, its backlog and what its consumers measured.
    """
    total = 0
    for ordering, backlog, measures in routes:
        bounds = []
        if ordering == "partition":
            bounds.append(backlog.active_partitions)
        if ordering != "none" and measures.runnable_records is not None:
            has_seen_all = not measures.reads_on or measures.held_records >= backlog.records
            bounds += [measures.runnable_records] if has_seen_all else []
        if not bounds:
            return None
        total += min(bounds)
    return total
