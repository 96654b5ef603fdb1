"""The machine's clock: the default of those who take a clock as an argument."""

import time


def epoch_ms() -> int:
    """Return milliseconds since 1970, as deadlines have them."""
    return time.time_ns() // 1_000_000  # noqa: TID251 - the one place that reads a clock


def monotonic_s() -> float:
    """Return seconds that never go back."""
    return time.monotonic()  # noqa: TID251 - as above
