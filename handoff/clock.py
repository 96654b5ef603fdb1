"""The clock port, and the machine's clocks behind it."""

import time
from typing import Protocol

# Linux stops its monotonic clock in suspend; a session in Kafka does not stop.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Time as consumers and model replicas need it."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def epoch_ms(self) -> int:
        """Return wall-clock milliseconds since 1970, to compare with deadlines."""
        ...


class SystemClock:
    """The machine's clocks; ``monotonic`` goes on while the machine is asleep."""

    def monotonic(self) -> float:
        return time.clock_gettime(_CLOCK)  # noqa: TID251 - the one place that reads a clock

    def epoch_ms(self) -> int:
        return time.time_ns() // 1_000_000  # noqa: TID251 - as above


class AwakeClock(SystemClock):
    """``monotonic`` stops while the machine is asleep, as does the work that a replica times."""

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 - as above
