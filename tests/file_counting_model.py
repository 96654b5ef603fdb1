"""A model for real Serve replicas: sleeps as requested, and writes what it computes to a file."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import orjson

from handoff.chunk import Chunk, Outcomes
from tests.each_record import infer_each


class FileCountingModel:
    """Appends ``PID CUSTOM_ID`` to ``path`` for each record that it starts to compute."""

    def __init__(self, path: str, window_records: int = 64) -> None:
        self._path = Path(path)
        self._window_records = window_records

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        found = infer_each(chunk, self._compute, replica="", window_records=self._window_records)
        async with aclosing(found):
            async for outcomes in found:
                yield outcomes

    async def _compute(self, line: bytes) -> tuple[int, bytes]:
        request = orjson.loads(line)
        # One write of one short line: whole, even from several processes at once.
        with self._path.open("ab", buffering=0) as file:
            file.write(f"{os.getpid()} {request['custom_id']}\n".encode())
        await asyncio.sleep(request["body"].get("ms", 0) / 1000)
        return 200, orjson.dumps({"echo": request["custom_id"]})
