"""A replica's window, divided by the consumers that call it. Pure: time is an argument."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from handoff.chunk import Chunk

CONSUMER_FORGOTTEN_AFTER_S = 30.0
_NEWS_RATIO = 1.25
"""What a consumer may have more than it knows of waits for its next outcomes where it is less."""


@dataclass(frozen=True, slots=True)
class Division:
    """A window divided max-min fairly: nobody has more than another who wants more.

    Attributes:
        level: What those have who want more; infinite where all have what they want.
        left: What nobody wants.
        sharers: By how many it is divided.
    """

    level: float
    left: float
    sharers: int

    def grant(self, demand: float) -> float:
        """Return the part of one who wants ``demand``; all parts together are the window."""
        return min(demand, self.level) + self.left / self.sharers

    def most(self, demand: float) -> float:
        """Return about how much one of them could have who now wants ``demand``."""
        return self.level if self.level < inf else demand + self.left


def divide(window: float, demands: Sequence[float]) -> Division:
    """Divide a window among one or more by what each wants (water filling)."""
    left = window
    for number, demand in enumerate(sorted(demands)):
        level = left / (len(demands) - number)
        if demand >= level:
            return Division(level, 0.0, len(demands))
        left -= demand
    return Division(inf, left, len(demands))


@dataclass(slots=True)
class _Consumer:
    demand: float = inf
    seen_s: float = 0.0
    told_records: int = 0


class SharedWindow(ABC):
    """Says what each consumer may keep in flight, by what each wants.

    What one does not want is the others'. Each may have a little more than it last wanted, by
    which it can say that it wants more; what it sends so comes on top of the window for a while,
    until enough of the others' records have ended.

    A consumer counts while it has a call here, however long nothing of it is answered, and for
    ``CONSUMER_FORGOTTEN_AFTER_S`` after.
    """

    def __init__(self) -> None:
        self._consumers: dict[str, _Consumer] = {}
        self._open_records: Counter[str] = Counter()

    @property
    @abstractmethod
    def total_records(self) -> float:
        """Records wanted in flight from all consumers together."""

    def call_started(self, chunk: Chunk, now_s: float) -> None:
        """Take note that a consumer handed over a chunk, at ``now_s`` (monotonic seconds)."""
        self._open_records[chunk.consumer] += len(chunk.lines)
        consumer = self._consumers.setdefault(chunk.consumer, _Consumer())
        consumer.demand = inf if chunk.wanted_records is None else chunk.wanted_records
        consumer.seen_s = now_s

    def call_ended(self, chunk: Chunk, now_s: float) -> None:
        """Take note that a chunk is answered or was given up by its consumer."""
        self._open_records[chunk.consumer] -= len(chunk.lines)
        consumer = self._consumers[chunk.consumer]
        consumer.demand = max(0.0, consumer.demand - len(chunk.lines))
        consumer.seen_s = now_s

    def window_records(self, name: str, now_s: float) -> int:
        """Return what to tell a consumer that it may keep in flight here, 1 or more."""
        self._forget(now_s)
        share = self._share(name, self._divide())
        self._consumers[name].told_records = share
        return share

    def has_reported(self, name: str) -> bool:
        """Whether a consumer knows a window of this replica."""
        return name in self._consumers and self._consumers[name].told_records > 0

    def has_news(self, name: str, now_s: float) -> bool:
        """Say whether a consumer may have much more than it was told, or was told nothing yet."""
        self._forget(now_s)
        return self._is_news(name, self._divide())

    def consumers_with_news(self, now_s: float) -> list[str]:
        """Return the consumers with a call here that may have much more than they were told."""
        self._forget(now_s)
        if len(self._consumers) < 2:
            return []
        division = self._divide()
        return [
            name
            for name in self._consumers
            if self._open_records[name] > 0 and self._is_news(name, division)
        ]

    def _is_news(self, name: str, division: Division) -> bool:
        return self._share(name, division) > _NEWS_RATIO * self._consumers[name].told_records

    def _share(self, name: str, division: Division) -> int:
        demand = self._demand(name)
        # A quarter of it is free then, which is a full chunk for most models.
        with_room = min(demand + 1 + demand / 3, division.most(demand))
        return max(1, ceil(max(division.grant(demand), with_room)))

    def _divide(self) -> Division:
        return divide(self.total_records, [self._demand(name) for name in self._consumers])

    def _demand(self, name: str) -> float:
        return max(self._consumers[name].demand, self._open_records[name])

    def _forget(self, now_s: float) -> None:
        gone = [
            name
            for name, consumer in self._consumers.items()
            if not self._open_records[name] and now_s - consumer.seen_s > CONSUMER_FORGOTTEN_AFTER_S
        ]
        for name in gone:
            del self._consumers[name]
            del self._open_records[name]
