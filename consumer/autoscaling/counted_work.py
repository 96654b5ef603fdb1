"""The work that counts for scaling.

A paused route's does not, as no replica would do it. Of a limited route's backlog counts what its
limit lets through in time: more replicas do no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consumer.autoscaling.lag import Backlog
from consumer.autoscaling.measures import RouteMeasures
from consumer.engine.calls.rate_limit import NO_LIMITS, RateLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Sums over the routes that are not paused.

    Attributes:
        arrived_records: As ``done_records`` a total that only grows, also over pauses.
        most_records_per_s: The limits' sum; ``None`` if one of the routes has none.
        is_limited: Each of the routes with a backlog is held back by its limit.
    """

    remaining_records: int
    arrived_records: int
    done_records: int
    most_records_per_s: float | None
    is_limited: bool


class CountedWork:
    """Adds up the backlogs of some routes; ``limits`` has one for each."""

    def __init__(self, limits: Sequence[RateLimits], drain_target_s: float) -> None:
        self._limits = limits
        self._drain_target_s = drain_target_s
        self._totals: dict[int, tuple[int, int]] = {}
        self._left_out: dict[int, tuple[int, int]] = {}

    def of(self, backlogs: Sequence[Backlog], measures: Sequence[RouteMeasures]) -> Work:
        remaining = arrived = done = 0
        rates: list[float | None] = []
        held_back: list[bool] = []
        for number, (backlog, measured) in enumerate(zip(backlogs, measures, strict=True)):
            counted = self._counted(number, backlog, is_paused=measured.is_paused)
            arrived += counted[0]
            done += counted[1]
            if measured.is_paused:
                continue
            limit = self._limits[number] if number < len(self._limits) else NO_LIMITS
            rate = limit.records_per_s(measured.tokens_per_record)
            rates.append(rate)
            if backlog.records:
                held_back.append(measured.is_limited)
            remaining += self._in_time(backlog.records, rate)
        known = [rate for rate in rates if rate is not None]
        return Work(
            remaining_records=remaining,
            arrived_records=arrived,
            done_records=done,
            most_records_per_s=sum(known) if rates and len(known) == len(rates) else None,
            is_limited=bool(held_back) and all(held_back),
        )

    def _in_time(self, records: int, rate: float | None) -> int:
        if rate is None or not records:
            return records
        return min(records, max(1, round(rate * self._drain_target_s)))

    def _counted(self, number: int, backlog: Backlog, *, is_paused: bool) -> tuple[int, int]:
        """Return what arrived and what was done, without what changed during pauses."""
        totals = backlog.arrived_records, backlog.done_records
        before, out = self._totals.get(number, (0, 0)), self._left_out.get(number, (0, 0))
        self._totals[number] = totals
        if is_paused:
            out = out[0] + totals[0] - before[0], out[1] + totals[1] - before[1]
            self._left_out[number] = out
        return totals[0] - out[0], totals[1] - out[1]
