"""The clock that model replicas read, injected as everywhere."""

import time
from typing import Protocol


class Clock(Protocol):
    """Time as a model replica needs it; of the shape of the consumer's, which it cannot import."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def epoch_ms(self) -> int:
        """Return wall-clock milliseconds since 1970, to compare with deadlines."""
        ...


class SystemClock:
    """This machine's clocks."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()  # noqa: TID251 -- the adapter at the edge

    def epoch_ms(self) -> int:
        """Return wall-clock milliseconds since 1970."""
        return time.time_ns() // 1_000_000  # noqa: TID251 -- the adapter at the edge
