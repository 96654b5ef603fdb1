"""A route's model behind a Ray Serve deployment handle."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError

from handoff.chunk import Chunk, Outcomes

LOOK_AGAIN_S = 1.0


class ServeModelClient:
    """Calls a model deployment's ``infer`` and streams what it yields.

    Args:
        handle: The deployment's handle.
        model: The model's name, for messages.
    """

    def __init__(self, handle: Any, model: str) -> None:
        self._infer = handle.options(stream=True, method_name="infer")
        self._model = model
        self._is_unavailable = False

    def waits(self) -> list[str]:
        """Return a line where Serve has given the model up."""
        if not self._is_unavailable:
            return []
        line = f"model {self._model}: no replica could start; `headrace status` has the error"
        return [line]

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream a chunk's outcomes; raises what Ray raises where the replica is lost.

        The first item is empty and says that a replica has taken the call. Until then the call
        waits: in Serve's router where replicas start or the model is being stopped, and here where
        Serve has given the model up.
        """
        while True:
            stream = self._infer.remote(chunk)
            try:
                await stream._to_object_ref_gen()  # noqa: SLF001 - Serve's developer API, so named
                break
            except DeploymentUnavailableError:
                self._is_unavailable = True
                await asyncio.sleep(LOOK_AGAIN_S)
            except (GeneratorExit, asyncio.CancelledError):
                stream.cancel()
                raise
        del chunk  # as large as all its records, of which one may take hours
        self._is_unavailable = False
        try:
            yield Outcomes(replica="", window_records=0)
            async for outcomes in stream:
                yield outcomes
                del outcomes
        except (GeneratorExit, asyncio.CancelledError):
            # Nobody waits for the rest: free what the replica still computes of it.
            stream.cancel()
            raise
