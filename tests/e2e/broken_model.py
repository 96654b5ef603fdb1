"""A model that cannot start."""

from collections.abc import AsyncIterator

from handoff.chunk import Chunk, Outcomes


class BrokenModel:
    """Raises when a replica constructs it."""

    def __init__(self) -> None:
        raise RuntimeError("there are no weights here")

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        yield Outcomes(replica=str(len(chunk.lines)), window_records=1)
