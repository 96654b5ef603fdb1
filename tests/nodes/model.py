"""A model of a fixed capacity: so many records at a time, each for so long."""

import asyncio
import os
from collections.abc import AsyncIterator

from handoff.chunk import Chunk, Outcomes
from tests.chaos.stage.model_replica import compute


class SteadyModel:
    """Computes ``slots`` records at a time, and holds each for ``hold_ms``."""

    def __init__(self, slots: int = 16, hold_ms: int = 100) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._window_records = 2 * slots
        self._hold_s = hold_ms / 1000

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        tasks = {
            asyncio.create_task(self._compute(line)): index
            for index, line in enumerate(chunk.lines)
        }
        try:
            while tasks:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                outcomes = Outcomes(f"steady-{os.getpid()}", self._window_records)
                for task in done:
                    outcomes.add(tasks.pop(task), *task.result())
                yield outcomes
        finally:
            for task in tasks:
                task.cancel()

    async def _compute(self, line: bytes) -> tuple[int, bytes]:
        async with self._slots:
            await asyncio.sleep(self._hold_s)
            return await compute(line)
