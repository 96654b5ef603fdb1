"""What the Ray Serve classes have in common: each puts an engine behind Serve's hooks."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from handoff.chunk import Chunk, Outcomes


class ChunkEngine(Protocol):
    """What answers chunks in a replica. All methods belong to one event loop."""

    def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        """Stream the outcomes of a chunk's records, each record exactly once."""
        ...

    def check_health(self) -> None:
        """Return if the engine can go on; raises where it cannot."""
        ...

    async def stop(self) -> None:
        """Stop; calls that still wait end, so that their records go elsewhere."""
        ...


class EngineReplica:
    """One replica: answers chunks (``handoff.chunk.ChunkModel``) once ``_engine`` is set."""

    _engine: ChunkEngine

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        """Stream the outcomes of a chunk's records, each record exactly once."""
        # Closed with this generator and not some time later: a consumer that went away frees it.
        async with aclosing(self._engine.infer(chunk)) as stream:
            async for outcomes in stream:
                yield outcomes

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take over live settings; Serve calls it at the start and on a change."""
        self._take_over(user_config["live"])

    def _take_over(self, live: Mapping[str, Any]) -> None:
        """Take over live settings by their keys; those left out are defaults."""

    # In the event loop, which owns the engine: Ray Serve may run a plain method in a thread.
    async def check_health(self) -> None:
        """Return if the replica can go on; Ray Serve replaces it where this raises what ails it."""
        self._engine.check_health()

    async def __del__(self) -> None:
        # Absent where the engine could not be made.
        engine = getattr(self, "_engine", None)
        if engine is not None:
            await engine.stop()
