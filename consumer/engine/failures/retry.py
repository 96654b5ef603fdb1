"""What to do with a record whose replica failed: again later, in smaller company, or give up."""

import random
from dataclasses import dataclass
from typing import TypeVar

from consumer.engine.failures.failures import Failure

Item = TypeVar("Item")

ISOLATION_FACTOR = 8
"""A failed chunk is dispatched again in chunks this many times smaller: a record that kills its
replica stands alone after three failures of a chunk of 256, and its neighbours go free."""

SUSPECT_STRIKES = 2
"""One failure may be an ordinary loss of a replica. From here on the record may be its cause, so
such records go to the model one call at a time: what fails with it is in its call."""


@dataclass(slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    The source is AWS's "Exponential Backoff And Jitter" (Brooker, 2015): the delay is uniform
    between nothing and the exponential bound, so that chunks of a lost replica come back spread.

    Attributes:
        max_attempts: How many failures may count against a record before it is given up.
        first_backoff_s: Bound of the first delay, in seconds; it doubles with each attempt.
        max_backoff_s: The most that the bound grows to, in seconds.
        retried: The failures after which a record goes again.
    """

    max_attempts: int
    first_backoff_s: float
    max_backoff_s: float
    retried: frozenset[Failure] = frozenset({Failure.MODEL_ERROR, Failure.REPLICA_LOST})

    def backoff_s(self, attempts: int, jitter: random.Random) -> float:
        """Return how long to wait after the ``attempts``-th attempt failed, in seconds."""
        bound = min(self.max_backoff_s, self.first_backoff_s * 2.0 ** min(attempts - 1, 32))
        return jitter.uniform(0, bound)

    def is_last_chance(self, strikes: int) -> bool:
        """Say whether a record with ``strikes`` failures to its name is given up after the next."""
        return strikes >= SUSPECT_STRIKES and strikes + 1 >= self.max_attempts


def split_for_isolation(items: list[Item]) -> list[list[Item]]:
    """Split a failed chunk's items for the next attempt."""
    size = max(1, len(items) // ISOLATION_FACTOR)
    return [items[start : start + size] for start in range(0, len(items), size)]
