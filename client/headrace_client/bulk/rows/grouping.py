"""How rows become requests: as many as fit by count and by size."""

from collections.abc import Iterator


class Grouper:
    """Cuts consecutive items into groups of at most ``max_items`` and ``max_bytes``.

    An item over ``max_bytes`` is a group by itself: what an item may measure is checked before.
    """

    def __init__(self, *, max_items: int, max_bytes: int, first: int = 0) -> None:
        if max_items < 1 or max_bytes < 1:
            raise ValueError("a group holds at least one item of one byte")
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._first = first
        self._items = 0
        self._bytes = 0

    @property
    def open_items(self) -> int:
        """Items of the group that is not closed yet."""
        return self._items

    @property
    def open_bytes(self) -> int:
        return self._bytes

    def add(self, item_bytes: int) -> tuple[int, int] | None:
        """Add the next item; return the range ``[first, end)`` of a group that this closes."""
        closed = None
        if self._items and (
            self._items == self._max_items or self._bytes + item_bytes > self._max_bytes
        ):
            closed = self.close()
        self._items += 1
        self._bytes += item_bytes
        return closed

    def close(self) -> tuple[int, int] | None:
        """Close the open group, and return its range; ``None`` if it is empty."""
        if not self._items:
            return None
        closed = (self._first, self._first + self._items)
        self._first += self._items
        self._items = self._bytes = 0
        return closed

    def groups(self, sizes: list[int]) -> Iterator[tuple[int, int]]:
        """Add items, and yield the groups that they close; the last one stays open."""
        for size in sizes:
            closed = self.add(size)
            if closed is not None:
                yield closed
