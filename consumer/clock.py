"""The machine's clock behind the Clock port."""

import time


class SystemClock:
    """Reads the operating system's clocks."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()  # noqa: TID251 - the one place in the consumer that reads a clock

    def epoch_ms(self) -> int:
        """Return wall-clock milliseconds since 1970."""
        return time.time_ns() // 1_000_000  # noqa: TID251 - as above
