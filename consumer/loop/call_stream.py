"""A handle call's outcomes, with what the model raises told from what we raise over them."""

from collections.abc import AsyncIterator

from consumer.ports import ModelClient
from handoff.chunk import Chunk, Outcomes


class CallFailedError(Exception):
    """A model replica was lost, or raised."""


async def stream_outcomes(model: ModelClient, chunk: Chunk) -> AsyncIterator[Outcomes]:
    """Stream a chunk's outcomes.

    Raises:
        CallFailedError: Whatever the model's stream raised, save that the call was cancelled.
    """
    stream = model.infer(chunk)
    # One record may take hours: what the others were must not stay for it.
    del chunk
    try:
        async for outcomes in stream:
            yield outcomes
            del outcomes
    except Exception as error:
        raise CallFailedError(f"{type(error).__name__}: {error}") from error
