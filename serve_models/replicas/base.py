"""The base of the Ray Serve classes: puts a chunk server behind Serve's hooks."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from ray import serve

from handoff.chunk import Chunk, Outcomes
from handoff.clock import AwakeClock
from handoff.logs import log_change, look_after_logs
from serve_models.chunks.chunk_server import ChunkServer, Host
from serve_models.replicas.metrics import export_readings

log = logging.getLogger(__name__)

_LAST_WORDS_S = 0.5
"""Time for finished outcomes to be streamed; the calls end with the process."""


def this_replica() -> Host:
    return Host(
        replica=serve.get_replica_context().replica_id.unique_id,
        clock=AwakeClock(),
        on_death=leave_soon,
    )


def leave_soon() -> None:
    """End this process: its model is dead.

    Ray Serve waits for three failed health checks. Meanwhile its router prefers the idle replica,
    and each record sent to a dead model loses an attempt. A process that is gone gets no calls, and
    is replaced at once.
    """
    asyncio.get_running_loop().call_later(_LAST_WORDS_S, os._exit, 1)


class Replica:
    """One replica: answers chunks (``handoff.chunk``) once ``_server`` is set."""

    _server: ChunkServer
    _exporting: asyncio.Task[None] | None = None

    def _export_metrics(self, model: str) -> None:
        """Export the server's readings as metrics with the label ``model``, until the end."""
        exporting = export_readings(model, self._server.readings)
        self._exporting = asyncio.get_running_loop().create_task(exporting)

    _live: Mapping[str, Any] | None = None

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        # Closed with this generator and not some time later: a consumer that went away frees it.
        async with aclosing(self._server.infer(chunk)) as stream:
            async for outcomes in stream:
                yield outcomes

    # In the event loop, which owns the server: Ray Serve may run a plain method in a thread.
    async def cancel(self, consumer: str, records: Mapping[int, Sequence[int]]) -> None:
        self._server.cancel(consumer, records)

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        self._note_change(user_config["live"])
        self._take_over(user_config["live"])

    def _note_change(self, live: Mapping[str, Any]) -> None:
        if self._live is not None:
            log_change(log, self._live, live)
        self._live = live

    def _take_over(self, live: Mapping[str, Any]) -> None:
        """Apply live settings, by key; keys left out have their defaults."""

    # Async for the same reason.
    async def check_health(self) -> None:
        look_after_logs()
        self._server.check_health()

    async def __del__(self) -> None:
        # Absent where the server could not be made.
        if self._exporting is not None:
            self._exporting.cancel()
        server = getattr(self, "_server", None)
        if server is not None:
            await server.stop()
