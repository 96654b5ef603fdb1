"""Which failures a record survives, and how long it waits after one."""

import random
from dataclasses import dataclass
from enum import StrEnum

from handoff.chunk import STATUS_LOST, STATUS_UNAVAILABLE, STATUS_UNRECOVERABLE


class Failure(StrEnum):
    """Why a record has no answer of a model replica; ``retry.on`` names the first two."""

    MODEL_ERROR = "model_error"
    """The model failed on the record, or on its batch; the replica is alive."""
    REPLICA_LOST = "replica_lost"
    """The replica was gone, or the call was, before the answer."""
    UNAVAILABLE = "unavailable"
    """The replica has no room or is not ready: again later, and nothing counts."""
    UNRECOVERABLE = "unrecoverable"
    """The model says that it would fail again: the record is given up at once."""


_FAILURES = {
    STATUS_LOST: Failure.REPLICA_LOST,
    STATUS_UNAVAILABLE: Failure.UNAVAILABLE,
    STATUS_UNRECOVERABLE: Failure.UNRECOVERABLE,
}


def failure_of_status(status: int) -> Failure:
    return _FAILURES.get(status, Failure.MODEL_ERROR)


@dataclass(slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    The source is AWS's "Exponential Backoff And Jitter" (Brooker, 2015): the delay is uniform
    between nothing and the exponential bound, so that chunks of a lost replica come back spread.

    Attributes:
        max_attempts: How many failed attempts may count against a record before it is given up.
        first_backoff_s: Bound of the first delay, in seconds; it doubles with each attempt.
        max_backoff_s: The most that the bound grows to, in seconds.
        retried: The failures after which a record is called again.
    """

    max_attempts: int
    first_backoff_s: float
    max_backoff_s: float
    retried: frozenset[Failure] = frozenset({Failure.MODEL_ERROR, Failure.REPLICA_LOST})

    def backoff_s(self, attempts: int, jitter: random.Random) -> float:
        bound = min(self.max_backoff_s, self.first_backoff_s * 2.0 ** min(attempts - 1, 32))
        return jitter.uniform(0, bound)
