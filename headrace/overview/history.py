"""What grew on a route over the last minute: rates and percentiles. Pure: time is an argument."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from consumer.replica.reports import REPORTED_TIMES, ReplicaSnapshot
from handoff.histogram import LATENCY_BOUNDS_S
from headrace.overview.snapshot import Latency, Rates

SHORT_WINDOW_S = 10.0
LONG_WINDOW_S = 60.0
LEAST_WINDOW_S = 2.0
"""Counts over a shorter time say little of a rate."""
POINT_EVERY_S = 2.0
LATE_AFTER_S = 3.0
"""Reports come every second; after this a route without one has stood still meanwhile."""

_BUCKETS = len(LATENCY_BOUNDS_S) + 1
_NOTHING = (0,) * _BUCKETS


@dataclass(frozen=True, slots=True)
class _Point:
    at_s: float
    received: int = 0
    completed: int = 0
    failed: int = 0
    times: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class RouteHistory:
    """Growth of a route's counters and histograms since ``begun_s``, kept for a minute.

    It adds up what each replica grew by. So a replica that is new to it, or a board that started
    a moment ago, does not look like a million records a second.

    Attributes:
        has_progressed: Whether a record has been completed since then.
    """

    def __init__(self, begun_s: float) -> None:
        self._received = self._completed = self._failed = 0
        self._times = {name: [0] * _BUCKETS for name in REPORTED_TIMES}
        self._added_at_s = begun_s
        self._progressed_at_s = begun_s
        self.has_progressed = False
        self._points: deque[_Point] = deque([_Point(begun_s)])

    def add(self, before: ReplicaSnapshot | None, after: ReplicaSnapshot, now_s: float) -> None:
        """Add what a replica grew by; ``before`` is ``None`` where it began to count at 0."""
        earlier = before or ReplicaSnapshot(route=after.route, replica=after.replica)
        self._received += _growth(earlier.received_records, after.received_records)
        completed = _growth(earlier.completed_records, after.completed_records)
        self._completed += completed
        self._failed += _growth(_failed(earlier), _failed(after))
        for name in REPORTED_TIMES:
            self._grow(name, earlier.times.get(name), after.times.get(name))
        self._added_at_s = max(self._added_at_s, now_s)
        if completed:
            self._progressed_at_s = self._added_at_s
            self.has_progressed = True
        if now_s - self._points[-1].at_s >= POINT_EVERY_S:
            self._points.append(self._point(now_s))
        # One point older than the window stays, so that the window is always spanned.
        while len(self._points) > 1 and self._points[1].at_s <= now_s - LONG_WINDOW_S:
            self._points.popleft()

    def quiet_s(self, now_s: float) -> float:
        """Return for how long nothing was completed, as far as it is known."""
        return max(0.0, now_s - self._progressed_at_s)

    def rates(self, window_s: float, now_s: float) -> Rates | None:
        """Return rates over about ``window_s``; ``None`` while too little time has passed."""
        end_s = now_s if now_s - self._added_at_s > LATE_AFTER_S else self._added_at_s
        start = self._start(end_s - window_s)
        spanned_s = end_s - start.at_s
        if spanned_s < LEAST_WINDOW_S:
            return None
        return Rates(
            window_s=round(spanned_s, 1),
            received_records_per_s=(self._received - start.received) / spanned_s,
            completed_records_per_s=(self._completed - start.completed) / spanned_s,
            failed_records_per_s=(self._failed - start.failed) / spanned_s,
        )

    def counts(self, name: str, now_s: float) -> list[int]:
        """Return a histogram of the last minute, one of ``REPORTED_TIMES``; not cumulative."""
        start = self._start(now_s - LONG_WINDOW_S).times.get(name, _NOTHING)
        return [now - then for now, then in zip(self._times[name], start, strict=True)]

    def _grow(self, name: str, before: Sequence[int] | None, after: Sequence[int] | None) -> None:
        # A consumer of another release may count in other buckets: it is left out.
        if after is None or len(after) != _BUCKETS:
            return
        start = before if before is not None and len(before) == _BUCKETS else _NOTHING
        if start == after:
            return
        total = self._times[name]
        self._times[name] = [
            reached + max(0, high - low)
            for reached, low, high in zip(total, start, after, strict=True)
        ]

    def _point(self, at_s: float) -> _Point:
        times = {name: tuple(counts) for name, counts in self._times.items()}
        return _Point(at_s, self._received, self._completed, self._failed, times)

    def _start(self, at_s: float) -> _Point:
        """Return the last point that is not after ``at_s``, or else the first."""
        found = self._points[0]
        for point in self._points:
            if point.at_s > at_s:
                break
            found = point
        return found


def latency_of(counts: Sequence[int]) -> Latency:
    """Return percentiles of a histogram's counts, by bucket and not cumulative."""
    records = sum(counts)
    if not records:
        return Latency()
    p50_s, p95_s, p99_s = (quantile(counts, LATENCY_BOUNDS_S, share) for share in (0.5, 0.95, 0.99))
    return Latency(records=records, p50_s=p50_s, p95_s=p95_s, p99_s=p99_s)


def quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float:
    """Return a quantile as Prometheus' ``histogram_quantile`` does.

    It interpolates linearly within the bucket, from 0 in the first one. What is above all bounds
    counts as the last bound. ``counts`` must not be all 0.
    """
    rank = share * sum(counts)
    reached = 0
    for place, count in enumerate(counts):
        if count and reached + count >= rank:
            if place >= len(bounds):
                return bounds[-1]
            low = bounds[place - 1] if place else 0.0
            return low + (bounds[place] - low) * (rank - reached) / count
        reached += count
    return bounds[-1]


def summed(histograms: Iterable[Sequence[int]]) -> list[int]:
    total = [0] * _BUCKETS
    for counts in histograms:
        total = [one + other for one, other in zip(total, counts, strict=True)]
    return total


def _growth(before: int, after: int) -> int:
    return max(0, after - before)


def _failed(snapshot: ReplicaSnapshot) -> int:
    return snapshot.dead_letter_records + snapshot.refused_records + snapshot.expired_records
