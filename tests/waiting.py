"""Waits with a bound, which say what did not come."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

PATIENCE_S = 60.0


@asynccontextmanager
async def within(what: str, patience_s: float = PATIENCE_S) -> AsyncIterator[None]:
    """Fail if the block has not ended in time; ``what`` is what it waits for."""
    try:
        async with asyncio.timeout(patience_s) as limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise AssertionError(f"waited {patience_s:g} s in vain for {what}") from error


def until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Look again until it is so; ``what`` is what the condition waits for."""
    give_up_at_s = time.monotonic() + patience_s  # noqa: TID251 - waits for a real process
    while not condition():
        # What no clock of the test's own decides.
        assert time.monotonic() < give_up_at_s, (  # noqa: TID251 - as above
            f"waited {patience_s:g} s in vain for {what}"
        )
        time.sleep(0.05)  # noqa: TID251 - as above
