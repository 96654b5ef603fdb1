"""A policy's measurements: arrivals, a replica's throughput and its start time."""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

_BUCKET_S = 10.0
_BUCKETS = 6
_FEWEST_BUCKETS = 5
"""A burst may span two of them, and must not become the median."""
_THROUGHPUT_TIME_CONSTANT_S = 120.0
_LONGEST_FIRST_SPAN_S = 600.0
_LEAST_OUTAGE_S = 30.0
_OUTAGE_SPANS = 4
"""A time without progress counts as an outage if it is this many times the usual one."""
_SPAN_WEIGHT = 0.2
_COLD_START_WEIGHT = 0.2
_MOST_MARKS = 512


class Arrivals:
    """The usual arrival rate, and the age of the waiting records, from running totals."""

    def __init__(self) -> None:
        self._bucket_began_s: float | None = None
        self._bucket_arrived = 0
        self._rates: deque[float] = deque(maxlen=_BUCKETS)
        # (seconds, arrived total by then), ascending in both.
        self._marks: deque[tuple[float, int]] = deque()

    def observe(self, now_s: float, arrived_records: int, remaining_records: int) -> None:
        """Add a reading; ``arrived_records`` is a total, ``remaining_records`` the latest."""
        if not self._marks or arrived_records > self._marks[-1][1]:
            self._marks.append((now_s, arrived_records))
        done = arrived_records - remaining_records
        while self._marks and self._marks[0][1] <= done:
            self._marks.popleft()
        if len(self._marks) > _MOST_MARKS:
            # Every other mark: the age of a backlog of hours may be coarse.
            self._marks = deque(list(self._marks)[::2])
        if self._bucket_began_s is None:
            self._bucket_began_s, self._bucket_arrived = now_s, arrived_records
        elapsed_s = now_s - self._bucket_began_s
        if elapsed_s >= _BUCKET_S:
            rate = max(0, arrived_records - self._bucket_arrived) / elapsed_s
            if elapsed_s >= 2 * _BUCKET_S:
                # No reading for a while: the arrivals may have come at once.
                self._rates.clear()
            else:
                self._rates.append(rate)
            self._bucket_began_s, self._bucket_arrived = now_s, arrived_records

    @property
    def records_per_s(self) -> float:
        """The median rate of the last minute's 10 s buckets, which a burst does not move."""
        if len(self._rates) < _FEWEST_BUCKETS:
            return 0.0
        return median(self._rates)

    def oldest_s(self, now_s: float) -> float:
        """Return about how long the oldest unfinished record has waited while observed."""
        return now_s - self._marks[0][0] if self._marks else 0.0


@dataclass(slots=True)
class _Span:
    """The time since the last progress, while there was work.

    Attributes:
        remaining_records: Records not done when it began.
        running: Replicas that ran when it began. One that started later has not finished its first
            record when one of these finishes its next; one that stopped has done its part.
        idle_s: Between the last reading without work and the first with some.
    """

    began_s: float
    remaining_records: int
    running: int
    idle_s: float = 0.0


class Throughput:
    """One replica's throughput, measured while all of them have enough to do.

    A measurement spans one progress to the next, over any number of readings: while work is slow,
    or done in lumps, most readings see no progress, and their time counts. A far longer time than
    usual means that the model was away, and is not measured.
    """

    def __init__(self, expected_records_per_s: float | None) -> None:
        self.records_per_s = expected_records_per_s
        self._learned_s = 0.0
        # Seconds, remaining, running.
        self._last: tuple[float, int, int] | None = None
        self._done = 0
        self._span = _Span(0.0, 0, 0)
        self._usual_span_s: float | None = None
        self._most_seen: float | None = None

    @property
    def at_least_records_per_s(self) -> float | None:
        """The highest rate seen, whether or not the replica had enough to do.

        ``None`` before any was seen with work. A record in flight counts as one in the time since
        the last: there is a replica, and it works.
        """
        now_s, remaining_records, running = self._last or (0.0, 0, 0)
        waited_s = self._span.idle_s + now_s - self._span.began_s
        if not remaining_records or not running or waited_s <= 0:
            return self._most_seen
        return max(self._most_seen or 0.0, 1.0 / (waited_s * self._span.running))

    def observe(
        self, now_s: float, done_records: int, remaining_records: int, running: int
    ) -> None:
        """Add a reading; ``done_records`` is the total since some fixed moment."""
        last, self._last = self._last, (now_s, remaining_records, running)
        done, self._done = done_records - self._done, done_records
        if last is None or not running or not last[2]:
            self._span = _Span(now_s, remaining_records, running)
            return
        last_s, last_remaining, last_running = last
        if done > 0 or not remaining_records:
            # If replicas started or stopped just then, it is unknown how many did the work.
            is_sure = running == last_running or self._span.began_s < last_s
            if done > 0 and is_sure and now_s > last_s:
                self._take(self._span, now_s - self._span.began_s, done, remaining_records)
            self._span = _Span(now_s, remaining_records, running)
        elif not last_remaining:
            self._span = _Span(now_s, remaining_records, running, idle_s=now_s - last_s)

    def _take(self, span: _Span, elapsed_s: float, done: int, remaining_records: int) -> None:
        sample = done / elapsed_s / span.running
        if remaining_records:
            self._most_seen = max(self._most_seen or 0.0, sample)
        usual_s, longest_s = self._usual_span_s, _LONGEST_FIRST_SPAN_S
        if usual_s is not None:
            longest_s = max(_LEAST_OUTAGE_S, _OUTAGE_SPANS * usual_s)
        if span.remaining_records:
            # Work that stays slower counts after a few spans.
            counted_s = min(elapsed_s, longest_s)
            known_s = counted_s if usual_s is None else usual_s
            self._usual_span_s = known_s + _SPAN_WEIGHT * (counted_s - known_s)
        if elapsed_s > longest_s:
            return
        # With twice as many records as were done, no replica can have waited for work.
        was_busy = span.remaining_records >= 2 * done and remaining_records >= done
        # Replicas that were idle at times can do at least this, unless two lumps came close
        # together by chance.
        is_more = sample > (self.records_per_s or 0.0) and elapsed_s >= (usual_s or 0.0) / 2
        if was_busy or (self._learned_s and is_more):
            self._learn(sample, elapsed_s)

    def _learn(self, sample: float, elapsed_s: float) -> None:
        self._learned_s += elapsed_s
        # The mean over time at first, then a mean that forgets.
        weight = max(
            elapsed_s / self._learned_s, 1.0 - math.exp(-elapsed_s / _THROUGHPUT_TIME_CONSTANT_S)
        )
        known = self.records_per_s or 0.0
        self.records_per_s = known + weight * (sample - known)


@dataclass(slots=True)
class _Together:
    """Replicas that were requested at once: how many started, and their total start time."""

    asked_at_s: float
    started: int = 0
    took_s: float = 0.0

    def take(self, now_s: float) -> float:
        self.started += 1
        self.took_s += now_s - self.asked_at_s
        return self.took_s / self.started


class ColdStart:
    def __init__(self, expected_s: float) -> None:
        self.seconds = expected_s
        self._asked_at_s: deque[float] = deque()
        self._running = 0
        # The estimate before the last group of replicas was requested.
        self._known_s: float | None = None
        self._together = _Together(-math.inf)
        self._none_at_s: float | None = None

    def look(self, now_s: float, target: int, running: int) -> None:
        """Note what runs and what should run; call this as often as possible.

        If none ran or should run at the last look, and one runs now, somebody else has requested it
        since. It counts from that last look: rather too long than too short.
        """
        if not running:
            if not target:
                self._none_at_s = now_s
            return
        if self._none_at_s is not None and not self._asked_at_s:
            self._asked_at_s.append(self._none_at_s)
        self._none_at_s = None
        self.observe(now_s, running)

    def asked(self, now_s: float, target: int, running: int) -> None:
        missing = max(0, target - running)
        while len(self._asked_at_s) < missing:
            self._asked_at_s.append(now_s)
        while len(self._asked_at_s) > missing:
            self._asked_at_s.pop()

    def observe(self, now_s: float, running: int) -> None:
        for _ in range(max(0, running - self._running)):
            if not self._asked_at_s:
                break
            self._take(now_s, self._asked_at_s.popleft())
        self._running = running

    def _take(self, now_s: float, asked_at_s: float) -> None:
        # The mean of those requested together: they arrive in the order of their times, so that a
        # mean that forgets would keep the slowest.
        if asked_at_s != self._together.asked_at_s:
            self._known_s = self.seconds if self._together.started else None
            self._together = _Together(asked_at_s)
        mean_s = self._together.take(now_s)
        known_s = mean_s if self._known_s is None else self._known_s
        kept = (1.0 - _COLD_START_WEIGHT) ** self._together.started
        self.seconds = mean_s + kept * (known_s - mean_s)

    def starting_s(self, now_s: float) -> list[float]:
        return [max(0.0, self.seconds - (now_s - asked_s)) for asked_s in self._asked_at_s]
