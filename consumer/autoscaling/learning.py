"""What a policy learns as it goes: arrivals, a replica's throughput, and how long one starts."""

import math
from collections import deque
from statistics import median

_BUCKET_S = 10.0
_BUCKETS = 6
_FEWEST_BUCKETS = 3
_THROUGHPUT_TIME_CONSTANT_S = 120.0
_COLD_START_WEIGHT = 0.2
_MOST_MARKS = 512


class Arrivals:
    """The usual arrival rate, and the age of what waits, from running totals."""

    def __init__(self) -> None:
        self._bucket_began_s: float | None = None
        self._bucket_arrived = 0
        self._rates: deque[float] = deque(maxlen=_BUCKETS)
        # (seconds, arrived total by then), ascending in both.
        self._marks: deque[tuple[float, int]] = deque()

    def observe(self, now_s: float, arrived_records: int, remaining_records: int) -> None:
        """Take in the total of arrivals, and how many of them, the latest, are not done.

        Args:
            now_s: Monotonic seconds.
            arrived_records: Records that have arrived since some fixed moment.
            remaining_records: Records that are not done; older ones may be among them.
        """
        if not self._marks or arrived_records > self._marks[-1][1]:
            self._marks.append((now_s, arrived_records))
        done = arrived_records - remaining_records
        while self._marks and self._marks[0][1] <= done:
            self._marks.popleft()
        if len(self._marks) > _MOST_MARKS:
            # Every other mark: a coarser age is told for a backlog of hours.
            self._marks = deque(list(self._marks)[::2])
        if self._bucket_began_s is None:
            self._bucket_began_s, self._bucket_arrived = now_s, arrived_records
        elapsed_s = now_s - self._bucket_began_s
        if elapsed_s >= _BUCKET_S:
            rate = max(0, arrived_records - self._bucket_arrived) / elapsed_s
            if elapsed_s >= 2 * _BUCKET_S:
                # Nobody looked for a while: what came may have come at any rate, and at once.
                self._rates.clear()
            else:
                self._rates.append(rate)
            self._bucket_began_s, self._bucket_arrived = now_s, arrived_records

    @property
    def records_per_s(self) -> float:
        """The median rate of the last minute's 10 s: a burst is backlog, not a new usual."""
        if len(self._rates) < _FEWEST_BUCKETS:
            return 0.0
        return median(self._rates)

    def oldest_s(self, now_s: float) -> float:
        """Return about how long the oldest record that is not done has waited; first in, first out.

        What had arrived before the first observation counts from then.
        """
        return now_s - self._marks[0][0] if self._marks else 0.0


class Throughput:
    """What one replica does in a second, learned while all of them have enough to do.

    Args:
        expected_records_per_s: To begin with; ``None`` where nothing is known.

    Attributes:
        records_per_s: What is expected or was measured; ``None`` where nothing is known.
        at_least_records_per_s: The most that one was seen to do, whether or not it had enough to
            do; ``None`` before any was seen with work.
    """

    def __init__(self, expected_records_per_s: float | None) -> None:
        self.records_per_s = expected_records_per_s
        self.at_least_records_per_s: float | None = None
        self._samples = 0
        self._last: tuple[float, int, int, int] | None = None

    def observe(
        self, now_s: float, done_records: int, remaining_records: int, running: int
    ) -> None:
        """Take in the total of what was done, and learn from the time since the last call.

        Args:
            now_s: Monotonic seconds.
            done_records: Records done since some fixed moment.
            remaining_records: Records that are not done.
            running: Replicas that run.
        """
        last, self._last = self._last, (now_s, done_records, remaining_records, running)
        if last is None:
            return
        last_s, last_done, last_remaining, last_running = last
        elapsed_s, done = now_s - last_s, done_records - last_done
        # A replica that came or went in between would make the others look slow or quick.
        if elapsed_s <= 0 or not running or running != last_running:
            return
        sample = done / elapsed_s / running
        if remaining_records:
            # The one that is under way counts: it says that a replica is there and works.
            seen = max(sample, 1.0 / elapsed_s / running)
            self.at_least_records_per_s = max(self.at_least_records_per_s or 0.0, seen)
        if done <= 0:
            return
        # Twice as much as was done lay there: nobody can have waited for work.
        was_busy = last_remaining >= 2 * done and remaining_records >= done
        # Where they were idle at times, they can still do at least this.
        if was_busy or (self._samples and sample > (self.records_per_s or 0.0)):
            self._learn(sample, elapsed_s)

    def _learn(self, sample: float, elapsed_s: float) -> None:
        self._samples += 1
        # The mean at first, then a mean that forgets.
        weight = max(1.0 / self._samples, 1.0 - math.exp(-elapsed_s / _THROUGHPUT_TIME_CONSTANT_S))
        known = self.records_per_s or 0.0
        self.records_per_s = known + weight * (sample - known)


class ColdStart:
    """How long a replica takes from being asked for to running.

    Args:
        expected_s: To begin with.
    """

    def __init__(self, expected_s: float) -> None:
        self.seconds = expected_s
        self._asked_at_s: deque[float] = deque()
        self._running = 0
        self._is_measured = False

    def asked(self, now_s: float, target: int, running: int) -> None:
        """Take note of what was asked for: each replica short of it starts counting."""
        missing = max(0, target - running)
        while len(self._asked_at_s) < missing:
            self._asked_at_s.append(now_s)
        while len(self._asked_at_s) > missing:
            self._asked_at_s.pop()

    def observe(self, now_s: float, running: int) -> None:
        """Take note of how many run; each more than before has started."""
        for _ in range(max(0, running - self._running)):
            if not self._asked_at_s:
                break
            sample_s = now_s - self._asked_at_s.popleft()
            # The mean: of many replicas that start, early ones make up for late ones.
            weight = _COLD_START_WEIGHT if self._is_measured else 1.0
            self.seconds += weight * (sample_s - self.seconds)
            self._is_measured = True
        self._running = running

    def starting_s(self, now_s: float) -> list[float]:
        """Return for each replica that is starting how many seconds it is expected to need yet."""
        return [max(0.0, self.seconds - (now_s - asked_s)) for asked_s in self._asked_at_s]
