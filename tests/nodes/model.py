"""A model of a fixed capacity: so many records at a time, each for so long."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

from handoff.chunk import Chunk, Outcomes
from tests.chaos.stage.model_replica import compute
from tests.each_record import infer_each


class SteadyModel:
    """Computes ``slots`` records at a time, and holds each for ``hold_ms``."""

    def __init__(self, slots: int = 16, hold_ms: int = 100) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._window_records = 2 * slots
        self._hold_s = hold_ms / 1000

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        found = infer_each(
            chunk,
            self._compute,
            replica=f"steady-{os.getpid()}",
            window_records=self._window_records,
        )
        async with aclosing(found):
            async for outcomes in found:
                yield outcomes

    async def _compute(self, line: bytes) -> tuple[int, bytes]:
        async with self._slots:
            await asyncio.sleep(self._hold_s)
            return await compute(line)
