"""What to do with a record whose replica failed: again later, in smaller company, or give up."""

import random
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

ISOLATION_FACTOR = 8
"""A failed chunk is dispatched again in chunks this many times smaller: a record that kills its
replica stands alone after three failures of a chunk of 256, and its neighbours go free."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    The source is AWS's "Exponential Backoff And Jitter" (Brooker, 2015): the delay is uniform
    between nothing and the exponential bound, so that chunks of a lost replica come back spread.
    """

    max_attempts: int
    first_backoff_s: float
    max_backoff_s: float

    def backoff_s(self, attempts: int, jitter: random.Random) -> float:
        """Return how long to wait after the ``attempts``-th attempt failed, in seconds."""
        bound = min(self.max_backoff_s, self.first_backoff_s * 2.0 ** min(attempts - 1, 32))
        return jitter.uniform(0, bound)

    def is_exhausted(self, attempts: int) -> bool:
        """Say whether ``attempts`` are all that a record gets."""
        return attempts >= self.max_attempts


def split_for_isolation(items: list[Item]) -> list[list[Item]]:
    """Split a failed chunk's items for the next attempt."""
    size = max(1, len(items) // ISOLATION_FACTOR)
    return [items[start : start + size] for start in range(0, len(items), size)]
