"""The measures of a route's consumers, and how many records can run in parallel by them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from consumer.autoscaling.lag import Backlog

Ordering = Literal["none", "key", "partition"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMeasures:
    """Sums over one route's consumers; ``reads_on``: one would read more than it holds.

    ``runnable_records`` are in flight or ready to be; ``None`` on a route without order, where all
    records are. ``tokens_per_record`` is a mean, ``None`` if unknown. ``is_limited``: its limit on
    the rate holds the route back. ``is_paused``: by a person, whatever the consumers say.
    """

    tokens_per_record: float | None = None
    runnable_records: int | None = None
    held_records: int = 0
    reads_on: bool = True
    is_limited: bool = False
    is_paused: bool = False


def parallel_records(
    routes: Sequence[tuple[Ordering, Backlog, RouteMeasures]],
) -> int | None:
    """Return the most records that may be in flight at a time; ``None`` if nothing bounds them.

    A partition in order has one record in flight. Only the consumers know how many keys a backlog
    has: their number counts once they hold all of it, or can hold no more.
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
