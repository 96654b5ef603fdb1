"""What models of tests have in common: each record is a task, and outcomes go as they come."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from handoff.chunk import Chunk, Outcomes


async def infer_each(
    chunk: Chunk,
    compute: Callable[[bytes], Awaitable[tuple[int, bytes]]],
    *,
    replica: str,
    window_records: int,
) -> AsyncGenerator[Outcomes]:
    """Yield the outcomes of ``compute``, which returns status and body for a line."""
    tasks = {asyncio.ensure_future(compute(line)): index for index, line in enumerate(chunk.lines)}
    try:
        while tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            outcomes = Outcomes(replica, window_records)
            for task in done:
                outcomes.add(tasks.pop(task), *task.result())
            yield outcomes
    finally:
        for task in tasks:
            task.cancel()
