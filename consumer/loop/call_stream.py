"""The outcomes of one handle call; an error of the model is not one of the loop."""

from collections.abc import AsyncIterator

from handoff.chunk import Chunk, ChunkModel, Outcomes


class CallFailedError(Exception): ...


async def stream_outcomes(model: ChunkModel, chunk: Chunk) -> AsyncIterator[Outcomes]:
    """Stream a chunk's outcomes; ``CallFailedError`` if the model raises; a cancellation passes."""
    stream = model.infer(chunk)
    # One record may take hours; the lines of the others must not stay in memory for it.
    del chunk
    try:
        async for outcomes in stream:
            yield outcomes
            del outcomes
    except Exception as error:
        raise CallFailedError(f"{type(error).__name__}: {error}") from error
