"""The chaos model as a class for real Serve replicas; ``model_replica`` explains the bodies."""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing

from handoff.chunk import Chunk, Outcomes
from tests.chaos.stage.model_replica import WINDOW_RECORDS, compute
from tests.each_record import infer_each


class ChaosServeModel:
    """Computes each record of a chunk, and yields outcomes as they finish."""

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        found = infer_each(
            chunk, compute, replica=f"chaos-{os.getpid()}", window_records=WINDOW_RECORDS
        )
        async with aclosing(found):
            async for outcomes in found:
                yield outcomes
