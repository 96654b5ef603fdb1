"""What the four stores have in common."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Answers = TypeVar("Answers")
"""Vectors as an array [items, dimensions]; bodies as a sequence of bytes."""


class ItemAnswers(Protocol[Answers]):
    """Answers by item."""

    def put(self, first: int, answers: Answers) -> None:
        """The answers of items ``first`` and following.

        Where single items of a response are put again, these count.
        """

    def take(self, items: NDArray[np.int64]) -> Answers:
        """The answers of these items, in this order; of a negative number zeros, or empty.

        Every other item must have been put.
        """

    def forget(self, below: int) -> None:
        """No row asks for an item below this one from now on, unless it repeats an earlier row."""

    def sync(self) -> dict[str, Any]:
        """Make durable what was put, and return what the checkpoint has to keep of it."""

    def recover(self, mark: Mapping[str, Any] | None) -> None:
        """Go back to what the checkpoint has kept; ``None`` before the first one."""

    def close(self) -> None: ...


def runs(items: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """The runs of successive items: (start, end) in ``items``, and the first item.

    Negative ones are left out.
    """
    if not len(items):
        return
    ends = np.flatnonzero(np.diff(items) != 1) + 1
    starts = [0, *ends.tolist()]
    for start, end in zip(starts, [*starts[1:], len(items)], strict=True):
        first = int(items[start])
        below_zero = max(0, -first)  # of a run that climbs from there: -1, 0, 1
        if start + below_zero < end:
            yield start + below_zero, end, first + below_zero
