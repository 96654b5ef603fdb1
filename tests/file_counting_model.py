"""A model for real Serve replicas: sleeps as requested, and writes what it computes to a file."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import orjson

from handoff.chunk import Chunk, Outcomes


class FileCountingModel:
    """Appends ``PID CUSTOM_ID`` to ``path`` for each record that it starts to compute."""

    def __init__(self, path: str, window_records: int = 64) -> None:
        self._path = Path(path)
        self._window_records = window_records

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        tasks = {
            asyncio.ensure_future(self._compute(line)): index
            for index, line in enumerate(chunk.lines)
        }
        try:
            while tasks:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                outcomes = Outcomes(replica="", window_records=self._window_records)
                for task in done:
                    outcomes.add(tasks.pop(task), 200, task.result())
                yield outcomes
        finally:
            for task in tasks:
                task.cancel()

    async def _compute(self, line: bytes) -> bytes:
        request = orjson.loads(line)
        # One write of one short line: whole, even from several processes at once.
        with self._path.open("ab", buffering=0) as file:
            file.write(f"{os.getpid()} {request['custom_id']}\n".encode())
        await asyncio.sleep(request["body"].get("ms", 0) / 1000)
        return orjson.dumps({"echo": request["custom_id"]})
