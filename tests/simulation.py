"""An asyncio event loop with simulated time: a wait costs nothing and is exact.

When no callback is ready, the clock jumps to the next timer. Nothing in a simulation may wait for a
socket or a thread: without a timer nothing could ever happen again, and the loop raises an error.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

EPOCH_MS = 1_800_000_000_000


class SimulationStalledError(RuntimeError):
    """Every task waits and no timer is set."""


class _JumpingSelector(selectors.BaseSelector):
    """Selects nothing; where the loop would block, it moves the loop's clock instead."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise SimulationStalledError("every task waits and no timer is set")
        self.now_s += max(0.0, timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class SimulatedLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class SimulatedClock:
    """The Clock port over the running simulated loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def epoch_ms(self) -> int:
        return EPOCH_MS + int(self.monotonic() * 1000)


def simulate(main: Coroutine[Any, Any, Result]) -> Result:
    """Run ``main`` to its end in simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)
