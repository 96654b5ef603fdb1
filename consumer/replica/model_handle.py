"""A route's model behind a Ray Serve deployment handle."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from handoff.chunk import Chunk, Outcomes


class ServeModelClient:
    """Calls a model deployment's ``infer`` and streams what it yields.

    Args:
        handle: The deployment's handle.
    """

    def __init__(self, handle: Any) -> None:
        self._infer = handle.options(stream=True, method_name="infer")

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream a chunk's outcomes; raises what Ray raises where the replica is lost.

        The first item is empty and says that a replica has taken the call: until then it waits in
        Serve's router, for ever where the model is being stopped.
        """
        stream = self._infer.remote(chunk)
        del chunk  # as large as all its records, of which one may take hours
        try:
            await stream._to_object_ref_gen()  # noqa: SLF001 - Serve's developer API, so named
            yield Outcomes(replica="", window_records=0)
            async for outcomes in stream:
                yield outcomes
                del outcomes
        except (GeneratorExit, asyncio.CancelledError):
            # Nobody waits for the rest: free what the replica still computes of it.
            stream.cancel()
            raise
