"""Which offsets a checkpoint may hold."""

from bisect import insort
from collections import deque
from collections.abc import Mapping

from headrace_client.jobs.ranges import RangeSet
from headrace_client.jobs.requests import Request

_Held = tuple[int, int, int]
"""An offset, and the items [first, end) that its record is about."""


class OffsetLedger:
    """For each partition of one topic, the lowest offset that is still needed.

    An offset is needed until all the items of its record are durably written.
    """

    def __init__(self, positions: Mapping[int, int]) -> None:
        self._read_to = dict(positions)
        self._held: dict[int, deque[_Held]] = {partition: deque() for partition in positions}

    def read_to(self, partition: int, position: int) -> None:
        """Note that nothing else below ``position`` is needed."""
        if position > self._read_to.get(partition, -1):
            self._read_to[partition] = position

    def hold(self, partition: int, offset: int, first: int, end: int) -> None:
        held = self._held.get(partition)
        if held is None:
            held = self._held[partition] = deque()
        if not held or held[-1][0] <= offset:
            held.append((offset, first, end))
        else:
            insort(held, (offset, first, end))
        if offset >= self._read_to.get(partition, 0):
            self._read_to[partition] = offset + 1

    @property
    def ends(self) -> dict[int, int]:
        """For each partition, one above the highest offset that is known."""
        return dict(self._read_to)

    @property
    def held_records(self) -> int:
        return sum(map(len, self._held.values()))

    def positions(self, durable: RangeSet) -> dict[int, int]:
        """For each partition the lowest offset that is needed, or where to go on."""
        positions = dict(self._read_to)
        for partition, held in self._held.items():
            while held and durable.covers(held[0][1], held[0][2]):
                held.popleft()
            if held:
                positions[partition] = min(positions[partition], held[0][0])
        return positions


class Unacknowledged:
    """Requests that may be in the log, at an offset that nobody has told.

    Such a request lies at or above the end that its partition had when it was handed out. Ends are
    noted once an epoch, so that this costs nothing a request.
    """

    def __init__(self) -> None:
        self._epoch_of: dict[Request, int] = {}
        self._epoch = 0
        self._epochs: deque[tuple[int, dict[int, int]]] = deque([(0, {})])
        self._open: dict[int, int] = {0: 0}

    def __len__(self) -> int:
        return len(self._epoch_of)

    def __contains__(self, request: Request) -> bool:
        return request in self._epoch_of

    def add(self, request: Request) -> None:
        self._epoch_of[request] = self._epoch
        self._open[self._epoch] += 1

    def discard(self, request: Request) -> bool:
        epoch = self._epoch_of.pop(request, None)
        if epoch is None:
            return False
        self._open[epoch] -= 1
        return True

    def begin_epoch(self, ends: dict[int, int]) -> None:
        """Note the ends for the requests that are handed out from here on."""
        self._epoch += 1
        self._open[self._epoch] = 0
        self._epochs.append((self._epoch, ends))
        while len(self._epochs) > 1 and not self._open[self._epochs[0][0]]:
            del self._open[self._epochs.popleft()[0]]

    def floor(self) -> dict[int, int] | None:
        """Per partition, below what no unacknowledged request lies; ``None`` if there is none.

        A partition that is not in it has no floor: it counts from 0.
        """
        if not self._epoch_of:
            return None
        return next(ends for epoch, ends in self._epochs if self._open[epoch])
