"""A model behind a Ray Serve deployment handle. Imports no Ray: the handle is given."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from handoff.chunk import Chunk, Outcomes


class ModelHandle:
    """Calls a model deployment's ``infer`` (``handoff.chunk.ChunkModel``).

    Args:
        handle: The deployment's handle.
        acceptance_s: A call that no replica accepts in this time is made anew: Serve's router keeps
            old calls to a deleted model for ever, but refuses new ones. ``None`` waits for ever.
    """

    def __init__(self, handle: Any, acceptance_s: float | None = None) -> None:
        self._infer = handle.options(stream=True, method_name="infer")
        self._acceptance_s = acceptance_s

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream a chunk's outcomes after an empty item when a replica has accepted the call.

        Raises what Ray raises if the replica is lost.
        """
        stream = await self._accepted(chunk)
        del chunk  # as large as all its records, of which one may take hours
        try:
            yield Outcomes(replica="", window_records=0)
            async for outcomes in stream:
                yield outcomes
                del outcomes
        except (GeneratorExit, asyncio.CancelledError):
            # Nobody waits for the rest: free what the replica still computes of it.
            stream.cancel()
            raise

    async def _accepted(self, chunk: Chunk) -> Any:
        while True:
            stream = self._infer.remote(chunk)
            try:
                async with asyncio.timeout(self._acceptance_s):
                    await stream._to_object_ref_gen()  # noqa: SLF001 - Serve's developer API, so named
            except TimeoutError:
                stream.cancel()
            except asyncio.CancelledError:
                stream.cancel()
                raise
            else:
                return stream
