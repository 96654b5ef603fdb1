"""A route's model behind a Ray Serve deployment handle."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError

from handoff.chunk import Chunk, Outcomes
from handoff.clock import Clock, SystemClock

LOOK_AGAIN_S = 1.0
PATIENCE_S = 10.0
"""A busy model takes a call sooner."""


class ServeModelClient:
    """Calls a model deployment's ``infer`` and streams what it yields.

    Args:
        handle: The deployment's handle.
        model: The model's name, for messages.
        clock: Time; the machine's where unset.
    """

    def __init__(self, handle: Any, model: str, clock: Clock | None = None) -> None:
        self._infer = handle.options(stream=True, method_name="infer")
        self._model = model
        self._clock = clock or SystemClock()
        self._waiting_calls = 0
        self._taken_at_s = 0.0

    def waits(self) -> list[str]:
        """Return a line where calls wait and no replica has taken one lately."""
        waited_s = self._clock.monotonic() - self._taken_at_s
        if not self._waiting_calls or waited_s < PATIENCE_S:
            return []
        line = f"model {self._model}: no replica takes calls; `headrace status` says why"
        return [line]

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream a chunk's outcomes; raises what Ray raises where the replica is lost.

        The first item is empty and says that a replica has taken the call.
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
        """Return the stream of a call that a replica has taken.

        Until then it waits: in Serve's router where replicas start or the model is being stopped,
        and here where Serve has given the model up.
        """
        if not self._waiting_calls:
            self._taken_at_s = self._clock.monotonic()
        self._waiting_calls += 1
        try:
            while True:
                stream = self._infer.remote(chunk)
                try:
                    await stream._to_object_ref_gen()  # noqa: SLF001 - Serve's developer API, so named
                except DeploymentUnavailableError:
                    await asyncio.sleep(LOOK_AGAIN_S)
                except asyncio.CancelledError:
                    stream.cancel()
                    raise
                else:
                    self._taken_at_s = self._clock.monotonic()
                    return stream
        finally:
            self._waiting_calls -= 1
