"""Whose turn it is among jobs that wait: each gets its weight's share of the work.

Start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queuing: A Scheduling Algorithm for
Integrated Services Packet Switching Networks", SIGCOMM 1996): a job's start tag is the work that it
has had, divided by its weight, and the least goes next. A job that had nothing waiting begins at
the virtual time of WF2Q+ (Bennett and Zhang, "Hierarchical Packet Fair Queueing Algorithms",
SIGCOMM 1996), which grows with all work that is given out. So it gets nothing for the time in which
it did not wait, and a stream of ever new jobs keeps no old one waiting.
"""

import heapq
from dataclasses import dataclass
from typing import Generic, TypeVar

Job = TypeVar("Job")

MOST_REMEMBERED = 1024
"""Jobs that have had more than their share and wait for nothing now; others are forgotten."""


@dataclass(eq=False, slots=True)
class _Standing(Generic[Job]):
    job: Job
    weight: int
    start: float
    entry: int = 0


class FairTurns(Generic[Job]):
    """Turns among jobs, by the work that is charged to each; one heap operation a turn."""

    def __init__(self) -> None:
        self._virtual = 0.0
        self._waiting: dict[Job, _Standing[Job]] = {}
        # By start tag, new ones before those that had a turn; older entries do not count.
        self._by_start: list[tuple[float, bool, int, _Standing[Job]]] = []
        self._ahead: dict[Job, float] = {}
        self._weights = 0
        self._entries = 0

    @property
    def are_contested(self) -> bool:
        """Whether work has to be charged: several jobs wait, or one has had more than its share.

        While one job waits alone, who comes next begins level with it whatever it has had.
        """
        return len(self._waiting) > 1 or bool(self._ahead)

    def enter(self, job: Job, weight: int) -> None:
        """Note that a job waits, after a time in which it did not."""
        standing = _Standing(job, weight, max(self._virtual, self._ahead.pop(job, 0.0)))
        self._waiting[job] = standing
        self._weights += weight
        self._push(standing, has_had_turn=False)

    def reweigh(self, job: Job, weight: int) -> None:
        standing = self._waiting[job]
        self._weights += weight - standing.weight
        standing.weight = weight

    def next(self) -> Job | None:
        while self._by_start:
            _, _, entry, standing = self._by_start[0]
            if entry == standing.entry:
                return standing.job
            heapq.heappop(self._by_start)
        return None

    def charge(self, job: Job, work: float) -> None:
        """Charge a job for work, in a unit that is the same for all; one that waits no more is not.

        ``work`` is positive.
        """
        standing = self._waiting.get(job)
        if standing is None:
            return
        if self.next() == job:
            self._virtual = max(self._virtual, standing.start) + work / self._weights
        # Otherwise it is out of turn, and who comes next must not begin level with it.
        standing.start += work / standing.weight
        self._push(standing, has_had_turn=True)
        if self._ahead and (len(self._waiting) == 1 or len(self._ahead) > MOST_REMEMBERED):
            self._forget()

    def leave(self, job: Job) -> None:
        """Note that a job does not wait any more."""
        standing = self._waiting.pop(job)
        standing.entry = 0
        self._weights -= standing.weight
        if not self._waiting:
            # Nobody is kept waiting, so nobody has had too much.
            self._by_start.clear()
            self._ahead.clear()
            self._virtual = 0.0
        elif standing.start > self._virtual:
            self._ahead[job] = standing.start

    def _push(self, standing: _Standing[Job], *, has_had_turn: bool) -> None:
        self._entries += 1
        standing.entry = self._entries
        entry = (standing.start, has_had_turn, standing.entry, standing)
        if self._by_start and self._by_start[0][3] is standing:
            heapq.heapreplace(self._by_start, entry)
            return
        heapq.heappush(self._by_start, entry)
        if len(self._by_start) > 2 * len(self._waiting) + MOST_REMEMBERED:
            self._by_start = [each for each in self._by_start if each[2] == each[3].entry]
            heapq.heapify(self._by_start)

    def _forget(self) -> None:
        ahead = {job: start for job, start in self._ahead.items() if start > self._virtual}
        if len(ahead) > MOST_REMEMBERED:
            most = sorted(ahead, key=ahead.__getitem__, reverse=True)[: MOST_REMEMBERED // 2]
            ahead = {job: ahead[job] for job in most}
        self._ahead = ahead
