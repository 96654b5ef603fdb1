"""The consumer's side of ``model_replica``: a call goes to the replica with the fewest calls."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence

import orjson

from handoff.chunk import Chunk, Outcomes
from tests.chaos.stage.model_replica import MAX_LINE_BYTES


class ChaosModelClient:
    """A ``CancellableModel`` over TCP.

    Args:
        ports: Where the replicas listen; one that is down is skipped.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._calls: Counter[int] = Counter()
        self._turn = 0

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        self._turn += 1
        turn = self._turn % len(self._ports)
        turned = self._ports[turn:] + self._ports[:turn]
        port, reader, writer = await _connect(sorted(turned, key=self._calls.__getitem__))
        self._calls[port] += 1
        try:
            # The replica has the call: silence from here on is its own, not the connection's.
            yield Outcomes("", 0)
            async for outcomes in _call(reader, writer, chunk):
                yield outcomes
        finally:
            self._calls[port] -= 1
            writer.transport.abort()

    async def cancel(self, consumer: str, records: Mapping[int, Sequence[int]]) -> None:
        """Reach no replica, as if each were shutting down: calls end when they are closed."""


async def _connect(
    ports: Sequence[int],
) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first replica that is up, as Serve's router skips dead ones."""
    for port in ports:
        try:
            streams = await asyncio.open_connection("127.0.0.1", port, limit=MAX_LINE_BYTES)
        except ConnectionRefusedError:
            continue
        return port, *streams
    raise ConnectionRefusedError("no model replica is up")


async def _call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunk: Chunk
) -> AsyncIterator[Outcomes]:
    writer.write(orjson.dumps([line.decode() for line in chunk.lines]) + b"\n")
    await writer.drain()
    left = len(chunk.lines)
    while left:
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the model replica has gone")
        reply = orjson.loads(line)
        outcomes = Outcomes(reply["replica"], reply["window_records"])
        for index, status, body in reply["outcomes"]:
            outcomes.add(index, status, body.encode())
            left -= 1
        yield outcomes
