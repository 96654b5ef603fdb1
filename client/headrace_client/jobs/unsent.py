"""Items that were read: which of them come next, and how they are grouped into requests."""

from collections.abc import Iterable

from headrace_client.jobs.ranges import RangeSet
from headrace_client.jobs.requests import Request
from headrace_client.jobs.settings import JobSettings
from headrace_client.jobs.sizes import ItemSizes


class Unsent:
    """The items from the next fresh one on: fresh means that nobody has sent it.

    Args:
        settings: How items are grouped, and how far the job reads.
        items_written: Where reading begins.
        written_above: Ranges of items that are not fresh.
        now: The time.
    """

    def __init__(
        self,
        settings: JobSettings,
        items_written: int,
        written_above: Iterable[tuple[int, int]],
        now: float,
    ) -> None:
        self._settings = settings
        self._window = settings.window
        self._next = items_written
        # Above the next one: what a former process sent, and what is done.
        self._ahead = RangeSet(written_above)
        self._highest_ahead = self._ahead.end
        self._sizes = ItemSizes(items_written)
        self._bytes_held = 0
        self._waits_since = now
        self.has_ended = False

    @property
    def items_read(self) -> int:
        return self._sizes.end

    @property
    def next_fresh(self) -> int:
        return self._ahead.next_missing(self._next)

    @property
    def is_all_sent(self) -> bool:
        return self.has_ended and self.next_fresh >= self._sizes.end

    @property
    def highest_ahead(self) -> int:
        """One above the highest item that is known not to be fresh without having been read."""
        return self._highest_ahead

    def wanted(self, taken: RangeSet) -> int:
        """How many more items may be read."""
        if self.has_ended or self._bytes_held >= self._window.span_bytes:
            return 0
        # Beyond what a window has room for, rows would only wait in memory.
        wanted_to = min(
            taken.prefix + self._window.span_items, self.next_fresh + self._window.items
        )
        return max(0, wanted_to - self._sizes.end)

    def add(self, sizes: Iterable[int], taken: RangeSet, now: float) -> None:
        first = self._sizes.end
        if self._next >= first:
            self._waits_since = now
        added_bytes = self._sizes.add(sizes)
        if taken.end > first:
            gaps = taken.missing(first, self._sizes.end)
            added_bytes = sum(self._sizes.bytes_of(*gap) for gap in gaps)
        self._bytes_held += added_bytes

    def bytes_of(self, request: Request) -> int:
        """The bytes of a request's items, as far as they were read and are held."""
        return self._sizes.bytes_of(request.first, request.end)

    def not_fresh(self, first: int, end: int) -> None:
        """Note that items were sent, or are done."""
        self._highest_ahead = max(self._highest_ahead, end)
        if end > self._next:
            self._ahead.add(first, end)

    def take(self, first: int, end: int) -> None:
        """Forget the bytes of items that were taken for writing."""
        self._bytes_held -= self._sizes.bytes_of(first, end)

    def drop_below(self, item: int) -> None:
        """Forget the sizes of items that nobody asks for again."""
        self._sizes.drop_below(min(item, self._next))

    def next_group(self, attempt: int, taken: RangeSet, now: float) -> tuple[Request, int] | None:
        """The next request and its bytes; ``None`` if there is none, or it should wait for more."""
        self._next = first = self.next_fresh
        self._ahead.drop_below(first)
        read_to = self._sizes.end
        span_end = taken.prefix + self._window.span_items
        limit = min(read_to, span_end)
        ahead = self._ahead.next_start(first)
        if ahead is not None and ahead < limit:
            limit = ahead
        if first >= limit:
            return None
        settings = self._settings
        end, size_bytes = self._sizes.group(
            first, limit, settings.request_items, settings.request_bytes
        )
        is_cut = end == limit and end - first < settings.request_items and limit != ahead
        if is_cut and not (self.has_ended and limit == read_to):
            if limit == span_end:
                # The span moves on: everything below is sent.
                return None
            if now - self._waits_since < settings.linger_s and self.wanted(taken):
                return None
        return Request(first, end, attempt), size_bytes

    def sent(self, request: Request, now: float) -> None:
        """Note that the group that `next_group` returned is on its way."""
        self._next = request.end
        self._waits_since = now
