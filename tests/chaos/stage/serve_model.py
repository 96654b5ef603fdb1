"""The chaos model as a class for real Serve replicas; ``model_replica`` explains the bodies."""

import asyncio
import os
from collections.abc import AsyncIterator

from handoff.chunk import Chunk, Outcomes
from tests.chaos.stage.model_replica import WINDOW_RECORDS, compute


class ChaosServeModel:
    """Computes each record of a chunk, and yields outcomes as they finish."""

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        tasks = {
            asyncio.create_task(compute(line)): index for index, line in enumerate(chunk.lines)
        }
        try:
            while tasks:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                outcomes = Outcomes(f"chaos-{os.getpid()}", WINDOW_RECORDS)
                for task in done:
                    outcomes.add(tasks.pop(task), *task.result())
                yield outcomes
        finally:
            for task in tasks:
                task.cancel()
