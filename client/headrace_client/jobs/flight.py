"""Requests that wait to be sent again, and requests that were sent and not answered."""

from collections.abc import Sequence
from heapq import heappop, heappush

from headrace_client.jobs.ranges import RangeSet
from headrace_client.jobs.requests import Request


class Flight:
    """Claims of requests on items: an item that is claimed will be answered.

    A request claims its items from the moment at which it is queued or sent until it is answered.
    """

    def __init__(self) -> None:
        self._bytes_of: dict[Request, int] = {}
        self._queue: list[Request] = []
        self._queued: set[Request] = set()
        self._singles: dict[int, tuple[int, ...]] = {}
        self._groups: dict[Request, None] = {}
        self.items = 0
        self.bytes = 0

    @property
    def requests(self) -> int:
        return len(self._bytes_of)

    @property
    def queued(self) -> int:
        return len(self._queued)

    def __contains__(self, request: Request) -> bool:
        return request in self._bytes_of

    def queue(self, request: Request) -> None:
        """Claim the items of a request that is to be sent again."""
        if request in self._queued or request in self._bytes_of:
            return
        self._claim(request)
        self._queued.add(request)
        heappush(self._queue, request)

    def split(self, request: Request, gaps: Sequence[tuple[int, int]], *, in_halves: bool) -> None:
        """Queue the items of a failed request again, in smaller ones; others keep their claims."""
        most = (request.items + 1) // 2 if in_halves else 1
        items = self.unclaimed(gaps)
        start = 0
        for at, item in enumerate(items):
            is_last = at + 1 == len(items) or items[at + 1] != item + 1
            if is_last or at + 1 - start == most:
                self.queue(Request(items[start], item + 1, request.attempt))
                start = at + 1

    def queue_all(self, attempt: int) -> int:
        """Queue whatever was sent or is queued under another attempt; return the items in flight.

        Answers to the former attempt still count.
        """
        sent, items = list(self._bytes_of), self.items
        for request in [*sent, *self._queued]:
            self.end(request)
            self.queue(request._replace(attempt=attempt))
        return items

    def next_queued(self, done: RangeSet, items_read: int) -> Request | None:
        """The lowest request to send again.

        One whose items were not read again since a crash waits for them.
        """
        request = self.lowest_queued(done)
        return request if request is not None and request.end <= items_read else None

    def lowest_queued(self, done: RangeSet) -> Request | None:
        """The lowest request to send again, without the items that were answered meanwhile."""
        queue = self._queue
        while queue:
            request = queue[0]
            if request in self._queued:
                gaps = done.missing(request.first, request.end)
                if gaps == [(request.first, request.end)]:
                    return request
                self.end(request)
                for first, end in gaps:
                    self.queue(Request(first, end, request.attempt))
            else:
                # What is not queued any more was sent, or answered.
                heappop(queue)
        return None

    def send(self, request: Request, size_bytes: int) -> None:
        if request in self._bytes_of:
            return
        if request in self._queued:
            # It stays in the heap until its turn comes.
            self._queued.discard(request)
        else:
            self._claim(request)
        self._bytes_of[request] = size_bytes
        self.items += request.items
        self.bytes += size_bytes

    def end(self, request: Request) -> bool:
        """Take back the claim of a request; false if it has none."""
        size_bytes = self._bytes_of.pop(request, None)
        if size_bytes is not None:
            self.items -= request.items
            self.bytes -= size_bytes
        elif request in self._queued:
            self._queued.discard(request)
        else:
            return False
        if request.items > 1:
            del self._groups[request]
        else:
            attempts = self._singles.pop(request.first)
            if len(attempts) > 1:
                left = tuple(each for each in attempts if each != request.attempt)
                self._singles[request.first] = left
        return True

    def unclaimed(self, gaps: Sequence[tuple[int, int]], *, above_attempt: int = 0) -> list[int]:
        """The items of ``gaps`` that no request claims, of attempts above the given one."""
        singles = self._singles
        items = [
            item
            for first, end in gaps
            for item in range(first, end)
            if item not in singles or max(singles[item]) <= above_attempt
        ]
        for group in self._groups:
            if not items:
                break
            if group.attempt > above_attempt and group.first <= items[-1] and group.end > items[0]:
                items = [item for item in items if not group.first <= item < group.end]
        return items

    def _claim(self, request: Request) -> None:
        if request.items > 1:
            self._groups[request] = None
        else:
            item = request.first
            self._singles[item] = (*self._singles.get(item, ()), request.attempt)
