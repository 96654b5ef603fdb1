"""The soak's model: a fixed capacity; and one that keeps what it should forget."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

from handoff.chunk import Chunk, Outcomes
from tests.nodes.model import SteadyModel

_KEPT_BYTES = 2_000
_RECORDS_PER_FILE = 100


class LeakingModel(SteadyModel):
    """Keeps some bytes of each record, and a file open for each hundredth: a planted leak."""

    def __init__(self, slots: int = 16, hold_ms: int = 100) -> None:
        super().__init__(slots, hold_ms)
        self._kept: list[bytes] = []
        self._files: list[int] = []

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        for _ in chunk.lines:
            self._kept.append(os.urandom(_KEPT_BYTES))
            if len(self._kept) % _RECORDS_PER_FILE == 0:
                self._files.append(os.open(os.devnull, os.O_RDONLY))
        async with aclosing(super().infer(chunk)) as found:
            async for outcomes in found:
                yield outcomes
