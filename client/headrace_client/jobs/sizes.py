"""How many bytes the items have that were read and not taken for writing."""

from array import array
from collections.abc import Iterable

_TRIM_ITEMS = 4096


class ItemSizes:
    """Sizes in bytes of the items from a base to the last that was read."""

    __slots__ = ("_base", "_sizes")

    def __init__(self, base: int) -> None:
        self._base = base
        self._sizes = array("q")

    @property
    def end(self) -> int:
        """One above the last item that was read."""
        return self._base + len(self._sizes)

    def add(self, sizes: Iterable[int]) -> int:
        """Append items; return their bytes."""
        before = len(self._sizes)
        self._sizes.extend(sizes)
        return sum(self._sizes[before:])

    def bytes_of(self, first: int, end: int) -> int:
        """Bytes of the items [first, end), as far as they are known."""
        low = first - self._base
        return sum(self._sizes[max(0, low) : max(end - self._base, 0)])

    def group(self, first: int, limit: int, most_items: int, most_bytes: int) -> tuple[int, int]:
        """Where the request that begins with ``first`` ends, and its bytes.

        It has at least one item, and of more at most ``most_bytes``.
        """
        low = first - self._base
        sizes = self._sizes[low : min(limit, first + most_items) - self._base]
        total = sum(sizes)
        if total <= most_bytes or len(sizes) == 1:
            return first + len(sizes), total
        total = sizes[0]
        count = 1
        while total + sizes[count] <= most_bytes:
            total += sizes[count]
            count += 1
        return first + count, total

    def drop_below(self, item: int) -> None:
        count = item - self._base
        # In large steps, because each one moves all that stays.
        if count >= _TRIM_ITEMS and 2 * count >= len(self._sizes):
            del self._sizes[:count]
            self._base = item
