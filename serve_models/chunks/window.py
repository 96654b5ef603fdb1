"""Divides a replica's window among its callers by their demand."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from handoff.chunk import Chunk

CALLER_FORGOTTEN_AFTER_S = 30.0
_NEWS_RATIO = 1.25
"""A caller whose grant grew by less than this learns of it with its next outcomes."""


@dataclass(frozen=True, slots=True)
class Division:
    """A window divided max-min fairly: no caller has more than one that wants more.

    Attributes:
        level: What each caller gets that wants more; infinite if all get what they want.
        left: What no caller wants.
        sharers: By how many it is divided.
    """

    level: float
    left: float
    sharers: int

    def grant(self, demand: float) -> float:
        """Return the part for a demand; all parts together are the window."""
        return min(demand, self.level) + self.left / self.sharers

    def most(self, demand: float) -> float:
        """Return about how much one caller could have that now wants ``demand``."""
        return self.level if self.level < inf else demand + self.left


def divide(window: float, demands: Sequence[float]) -> Division:
    """Divide a window among one or more demands (water filling)."""
    left = window
    for number, demand in enumerate(sorted(demands)):
        level = left / (len(demands) - number)
        if demand >= level:
            return Division(level, 0.0, len(demands))
        left -= demand
    return Division(inf, left, len(demands))


@dataclass(slots=True)
class _Caller:
    demand: float = inf
    seen_s: float = 0.0
    granted_records: int = 0


class SharedWindow:
    """Grants each caller a part of the replica's window, by its demand.

    What one caller does not want goes to the others. Each may have a little more than it last
    wanted, so that it can state a higher demand; what it then sends exceeds the window for a while,
    until enough of the others' records have ended.

    A caller counts while it has records here, however long none of them is answered, and for
    ``CALLER_FORGOTTEN_AFTER_S`` after that. ``records`` is the window of all callers together;
    callers learn of a change with their next outcomes.
    """

    def __init__(self, records: float) -> None:
        self.records = records
        self._callers: dict[str, _Caller] = {}
        self._open_records: Counter[str] = Counter()

    @property
    def total_records(self) -> float:
        return self.records

    @property
    def open_records(self) -> int:
        """Records of all callers that have not ended."""
        return sum(self._open_records.values())

    def call_started(self, chunk: Chunk, now_s: float) -> None:
        self._open_records[chunk.consumer] += len(chunk.lines)
        caller = self._callers.setdefault(chunk.consumer, _Caller())
        caller.demand = inf if chunk.wanted_records is None else chunk.wanted_records
        caller.seen_s = now_s

    def records_ended(self, name: str, records: int, now_s: float) -> None:
        """Note that a caller's records were answered, or that nobody waits for them any more."""
        self._open_records[name] -= records
        caller = self._callers[name]
        caller.demand = max(0.0, caller.demand - records)
        caller.seen_s = now_s

    def window_records(self, name: str, now_s: float) -> int:
        """Return the window to grant a caller with its next outcomes, 1 or more."""
        self._forget(now_s)
        share = self._share(name, self._divide())
        self._callers[name].granted_records = share
        return share

    def has_granted(self, name: str) -> bool:
        return name in self._callers and self._callers[name].granted_records > 0

    def has_news(self, name: str, now_s: float) -> bool:
        """Whether a caller may have much more than its last grant, or had none yet."""
        self._forget(now_s)
        return self._is_news(name, self._divide())

    def consumers_with_news(self, now_s: float) -> list[str]:
        self._forget(now_s)
        if len(self._callers) < 2:
            return []
        division = self._divide()
        return [
            name
            for name in self._callers
            if self._open_records[name] > 0 and self._is_news(name, division)
        ]

    def _is_news(self, name: str, division: Division) -> bool:
        return self._share(name, division) > _NEWS_RATIO * self._callers[name].granted_records

    def _share(self, name: str, division: Division) -> int:
        demand = self._demand(name)
        # A quarter of it is then free, which is a full chunk for most models.
        with_room = min(demand + 1 + demand / 3, division.most(demand))
        return max(1, ceil(max(division.grant(demand), with_room)))

    def _divide(self) -> Division:
        return divide(self.total_records, [self._demand(name) for name in self._callers])

    def _demand(self, name: str) -> float:
        return max(self._callers[name].demand, self._open_records[name])

    def _forget(self, now_s: float) -> None:
        gone = [
            name
            for name, caller in self._callers.items()
            if not self._open_records[name] and now_s - caller.seen_s > CALLER_FORGOTTEN_AFTER_S
        ]
        for name in gone:
            del self._callers[name]
            del self._open_records[name]
