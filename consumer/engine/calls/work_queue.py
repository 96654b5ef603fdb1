"""Records that wait for a model replica, and which of them go next."""

import heapq
from collections import deque
from collections.abc import Iterable
from enum import IntEnum
from itertools import chain

from consumer.engine.failures.retry import SUSPECT_STRIKES
from consumer.engine.work import WorkItem

MAX_CHUNK_BYTES = 96 * 1024
"""Ray carries arguments of up to 100 KB within the call; larger ones take the slower way through
its object store. Measured on 494-byte records: 18,500 a second against 16,700."""

PATIENCE_S = 5.0
"""Where the longest go first, each chunk begins with the oldest record if it has waited this long:
none waits for ever, and a long backlog is still ordered by length."""
_SPARE_ENTRIES = 64


class Suspicion(IntEnum):
    """How likely a record is thought to be the cause of its failures."""

    NONE = 0
    """It has not failed, or only while the model was down for others too."""
    SOME = 1
    """It has failed, once, with others or alone."""
    STRONG = 2
    """So often that it goes one call at a time: a suspect. Timeouts do not count here, as what
    takes too long fails by itself."""


class WorkQueue:
    """First come first served, or the longest first where requests say how much work they are.

    Long requests that start last leave all other slots idle at the end of a backlog, and starting
    them first is the classic remedy (Graham, "Bounds on Multiprocessing Timing Anomalies", 1969:
    at most 4/3 of the best possible time). Among what is held only, so memory stays bounded.

    Groups of a failed chunk wait apart, each to be dispatched by itself: those that are suspected
    most go first, so that their cause is soon known.

    Args:
        longest_first: Order by ``WorkItem.work`` rather than by arrival.
    """

    def __init__(self, *, longest_first: bool = False) -> None:
        self._longest_first = longest_first
        # An item leaves the other structure unseen: what is not waiting any more is passed over.
        self._by_arrival: deque[WorkItem] = deque()
        self._by_work: list[tuple[float, int, WorkItem]] = []
        self._groups: dict[Suspicion, deque[list[WorkItem]]] = {
            each: deque() for each in sorted(Suspicion, reverse=True)
        }
        self._grouped_records = dict.fromkeys(Suspicion, 0)
        self._added = 0
        self.records = 0

    def add(self, item: WorkItem) -> None:
        """Queue a new record."""
        item.is_queued = True
        self._by_arrival.append(item)
        if self._longest_first:
            self._added += 1
            heapq.heappush(self._by_work, (-item.work, self._added, item))
        self.records += 1

    def make_ready(self, item: WorkItem) -> None:
        """Queue a record as soon as its lane lets it."""
        item.is_ready = True
        if item.is_held:
            return
        if item.strikes:  # in earlier owners' hands; its neighbours are not to suffer for it
            self.add_group([item])
        else:
            self.add(item)

    def add_group(self, items: list[WorkItem]) -> None:
        """Queue records that are to be dispatched together and with no others."""
        suspicion = suspicion_of(items)
        self._groups[suspicion].append(items)
        self._grouped_records[suspicion] += len(items)
        self.records += len(items)

    def available_records(self, most: Suspicion = Suspicion.STRONG) -> int:
        """Return how many records wait that are suspected no more than ``most``."""
        return self.records - sum(self._grouped_records[each] for each in Suspicion if each > most)

    def next_group(self, most: Suspicion = Suspicion.STRONG) -> list[WorkItem] | None:
        """Return the group that ``take`` would take, if one waits; it stays where it is."""
        suspicion = self._next_suspicion(most)
        return None if suspicion is None else self._groups[suspicion][0]

    def take(
        self, most_records: int, now_s: float, most: Suspicion = Suspicion.STRONG
    ) -> list[WorkItem]:
        """Take the next chunk: a waiting group, else up to ``most_records`` new records.

        Args:
            most_records: The most new records; a group goes whole.
            now_s: Monotonic seconds.
            most: Groups that are suspected more are left where they are.
        """
        suspicion = self._next_suspicion(most)
        if suspicion is not None:
            chunk = self._groups[suspicion].popleft()
            self._grouped_records[suspicion] -= len(chunk)
            self.records -= len(chunk)
            return chunk
        chunk = []
        size_bytes = 0
        while len(chunk) < most_records:
            item = self._next(now_s, may_be_overdue=not chunk)
            if item is None:
                break
            size_bytes += len(item.line)
            if chunk and size_bytes > MAX_CHUNK_BYTES:
                break
            self._remove(item)
            chunk.append(item)
        self.records -= len(chunk)
        self._compact()
        return chunk

    def forget(self, item: WorkItem) -> bool:
        """Take note that a new record is settled; False where it is not one that waits here."""
        if not item.is_queued:
            return False
        item.is_queued = False
        self.records -= 1
        self._compact()
        return True

    def waiting(self) -> list[WorkItem]:
        """Return every record that waits, in no particular order."""
        new = [item for item in self._by_arrival if item.is_new()]
        groups = chain.from_iterable(self._groups.values())
        return new + list(chain.from_iterable(groups))

    def drop_unwanted(self) -> None:
        """Forget records that are settled or whose partition was lost."""
        self._by_arrival = deque(each for each in self._by_arrival if _is_wanted_new(each))
        self._by_work = [entry for entry in self._by_work if _is_wanted_new(entry[2])]
        heapq.heapify(self._by_work)
        self._groups = {each: _wanted_groups(groups) for each, groups in self._groups.items()}
        self._grouped_records = {each: sum(map(len, self._groups[each])) for each in Suspicion}
        self.records = len(self._by_arrival) + sum(self._grouped_records.values())

    def _compact(self) -> None:
        if len(self._by_work) > 2 * self.records + _SPARE_ENTRIES:
            self._by_work = [entry for entry in self._by_work if entry[2].is_new()]
            heapq.heapify(self._by_work)
        if len(self._by_arrival) > 2 * self.records + _SPARE_ENTRIES:
            self._by_arrival = deque(item for item in self._by_arrival if item.is_new())

    def _next_suspicion(self, most: Suspicion) -> Suspicion | None:
        return next((each for each in self._groups if each <= most and self._groups[each]), None)

    def _next(self, now_s: float, *, may_be_overdue: bool) -> WorkItem | None:
        while self._by_arrival and not self._by_arrival[0].is_new():
            self._by_arrival.popleft()
        if not self._by_arrival:
            self._by_work.clear()
            return None
        oldest = self._by_arrival[0]
        is_overdue = may_be_overdue and now_s - oldest.received_at_s >= PATIENCE_S
        if not self._longest_first or is_overdue:
            return oldest
        while not self._by_work[0][2].is_new():
            heapq.heappop(self._by_work)
        return self._by_work[0][2]

    def _remove(self, item: WorkItem) -> None:
        item.is_taken = True
        item.is_queued = False
        if self._by_arrival[0] is item:
            self._by_arrival.popleft()


def suspicion_of(items: list[WorkItem]) -> Suspicion:
    """Return how much records that go together are suspected: as the most suspected of them."""
    if any(item.strikes - item.timeouts >= SUSPECT_STRIKES for item in items):
        return Suspicion.STRONG
    return Suspicion.SOME if any(item.strikes for item in items) else Suspicion.NONE


def _wanted_groups(groups: Iterable[list[WorkItem]]) -> deque[list[WorkItem]]:
    kept = ([item for item in group if item.is_wanted()] for group in groups)
    return deque(group for group in kept if group)


def _is_wanted_new(item: WorkItem) -> bool:
    return item.is_new() and item.is_wanted()
