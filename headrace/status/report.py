"""Merges what consumer replicas report into one status per route. Pure: time is an argument."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from consumer.engine.waiting.waits import merged
from consumer.replica.reports import COUNTER_NAMES, ReplicaSnapshot, RouteStatus
from headrace.overview.history import RouteHistory

T = TypeVar("T")

SILENT_AFTER_S = 10.0
"""A replica that is silent for longer has no partitions any more; its counts stay."""
RATE_WINDOW_S = 5.0
WORKING_WINDOW_S = 60.0
MAX_SILENT_REPLICAS = 1_000


class _Progress:
    """Completed records over the last ``window_s`` seconds."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._points: deque[tuple[float, int]] = deque()

    def add(self, snapshot: ReplicaSnapshot) -> None:
        self._points.append((snapshot.at_s, snapshot.completed_records))
        # One point older than the window stays, so that the window is always spanned.
        while len(self._points) > 2 and self._points[1][0] <= snapshot.at_s - self._window_s:
            self._points.popleft()

    def clear(self) -> None:
        self._points.clear()

    def records_per_s(self) -> float:
        (first_s, first), (last_s, last) = self._points[0], self._points[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


class _Track:
    def __init__(self, snapshot: ReplicaSnapshot) -> None:
        self.latest = snapshot
        self.recent = _Progress(RATE_WINDOW_S)
        self.working = _Progress(WORKING_WINDOW_S)
        self.recent.add(snapshot)
        self.working.add(snapshot)

    def advance(self, snapshot: ReplicaSnapshot) -> None:
        if not self.latest.in_flight_records and not self.latest.queued_records:
            # Until now it had nothing to do, which does not measure what it can do.
            self.working.clear()
            self.working.add(self.latest)
        self.latest = snapshot
        self.recent.add(snapshot)
        self.working.add(snapshot)


class StatusReport:
    """The latest of every replica, and totals that never decrease."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[str, str], _Track] = {}
        self._past: dict[str, dict[str, int]] = {}
        self._past_letters: dict[str, dict[str, int]] = {}
        self._histories: dict[str, RouteHistory] = {}

    def add(self, snapshot: ReplicaSnapshot, now_s: float) -> None:
        """Add a snapshot that arrived at ``now_s`` (seconds, monotonic)."""
        snapshot = replace(snapshot, at_s=now_s)
        key = (snapshot.route, snapshot.replica)
        track = self._tracks.get(key)
        self._remember(track, snapshot, now_s)
        if track is not None and snapshot.received_records >= track.latest.received_records:
            track.advance(snapshot)
            return
        if track is not None:
            # It counts from 0 again: another process has taken its name.
            self._fold(track.latest)
        self._tracks[key] = _Track(snapshot)
        self._bound(now_s)

    def _remember(self, track: _Track | None, snapshot: ReplicaSnapshot, now_s: float) -> None:
        history = self._histories.get(snapshot.route)
        if history is None:
            history = self._histories[snapshot.route] = RouteHistory(now_s)
        if track is None:
            # It may have run for days before this board did.
            history.add(snapshot, snapshot, now_s)
        elif snapshot.received_records >= track.latest.received_records:
            history.add(track.latest, snapshot, now_s)
        else:
            history.add(None, snapshot, now_s)

    @property
    def histories(self) -> Mapping[str, RouteHistory]:
        return self._histories

    def live(self, now_s: float) -> dict[str, list[ReplicaSnapshot]]:
        """Return the latest snapshots of the replicas that report, by route."""
        found: dict[str, list[ReplicaSnapshot]] = {}
        for (route, _), track in self._tracks.items():
            if not _is_silent(track, now_s):
                found.setdefault(route, []).append(track.latest)
        return found

    def routes(self, now_s: float) -> dict[str, RouteStatus]:
        names = sorted({route for route, _ in self._tracks} | set(self._past))
        return {name: self._route(name, now_s) for name in names}

    def _route(self, name: str, now_s: float) -> RouteStatus:
        tracks = [track for (route, _), track in self._tracks.items() if route == name]
        live = [track for track in tracks if not _is_silent(track, now_s)]
        past = self._past.get(name, {})
        totals = {
            counter: past.get(counter, 0) + sum(getattr(track.latest, counter) for track in tracks)
            for counter in COUNTER_NAMES
        }
        latest = [track.latest for track in live]
        return RouteStatus(
            route=name,
            rate_records_per_s=sum(track.recent.records_per_s() for track in live),
            working_records_per_s=sum(track.working.records_per_s() for track in live),
            replicas=len(live),
            in_flight_records=sum(one.in_flight_records for one in latest),
            queued_records=sum(one.queued_records for one in latest),
            runnable_records=_sum_if_known([one.runnable_records for one in latest]),
            reads_on=any(one.reads_on for one in latest),
            partitions=sorted(_union(one.partitions for one in latest)),
            model_replicas=len(_union(one.model_replicas for one in latest)),
            waits=merged(one.waits for one in latest),
            errors=[f"{one.replica}: {one.error}" for one in latest if one.error],
            dead_letters_by_reason=_added(
                self._past_letters.get(name, {}),
                *(track.latest.dead_letters_by_reason for track in tracks),
            ),
            **totals,
        )

    def _fold(self, snapshot: ReplicaSnapshot) -> None:
        past = self._past.setdefault(snapshot.route, {})
        for counter in COUNTER_NAMES:
            past[counter] = past.get(counter, 0) + getattr(snapshot, counter)
        letters = self._past_letters.get(snapshot.route, {})
        self._past_letters[snapshot.route] = _added(letters, snapshot.dead_letters_by_reason)

    def _bound(self, now_s: float) -> None:
        silent = [key for key, track in self._tracks.items() if _is_silent(track, now_s)]
        for key in silent[: max(0, len(silent) - MAX_SILENT_REPLICAS)]:
            self._fold(self._tracks.pop(key).latest)


def _is_silent(track: _Track, now_s: float) -> bool:
    return now_s - track.latest.at_s > SILENT_AFTER_S


def _union(parts: Iterable[Iterable[T]]) -> set[T]:
    return {item for part in parts for item in part}


def _added(*counts: Mapping[str, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for reason, number in each.items():
            total[reason] = total.get(reason, 0) + number
    return total


def _sum_if_known(numbers: list[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None
