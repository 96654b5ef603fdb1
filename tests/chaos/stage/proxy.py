"""A TCP proxy between clients and one broker: cuts, refusals, delays, and one-sided silence."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.load.request_kinds import GROUP_KINDS, RequestKinds

_READ_BYTES = 64 * 1024


@dataclass(slots=True)
class _Connection:
    client_port: int
    kinds: RequestKinds = field(default_factory=RequestKinds)
    is_to_coordinator: bool = False


class Proxy:
    """Passes connections on to a broker's listener on this machine.

    Args:
        port: Where it listens; the broker's advertised port.
        target_port: Where the broker listens.
    """

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.delay_s = 0.0
        self._target_port = target_port
        self._is_refusing = False
        self._is_withheld: Callable[[int], bool] = _nobodys
        self._healed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        self._is_refusing = True
        if self._server is not None:
            self._server.close()
        self.cut()
        if self._connections:
            await asyncio.wait(self._connections)

    def cut(self) -> int:
        """Reset every connection; return how many there were."""
        count = len(self._connections)
        for connection in self._connections:
            connection.cancel()
        return count

    async def cut_for(self, duration_s: float) -> int:
        """Reset every connection, and refuse new ones for a while; return how many were cut."""
        self._is_refusing = True
        try:
            count = self.cut()
            await asyncio.sleep(duration_s)
        finally:
            self._is_refusing = False
        return count

    async def withhold_for(self, duration_s: float, is_theirs: Callable[[int], bool]) -> None:
        """Pass nothing on between some clients and the group's coordinator for a while.

        As on a network that drops packets, nothing is refused and nothing answered, until the
        connections are reset at the end. What the same clients ask partition leaders passes.

        Args:
            duration_s: For how long.
            is_theirs: Whether a client's port belongs to one of these clients.
        """
        self._healed.clear()
        self._is_withheld = is_theirs
        try:
            await asyncio.sleep(duration_s)
        finally:
            self._is_withheld = _nobodys
            self._healed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._is_refusing:
            _reset(writer)
            return
        self._connections.add(task)
        upstream: asyncio.StreamWriter | None = None
        connection = _Connection(writer.get_extra_info("peername")[1])
        # A cut is intended; for the server's own bookkeeping the connection just ended.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                broker, upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(self._pump(reader, upstream, connection, asks=True))
                    pumps.create_task(self._pump(broker, writer, connection, asks=False))
            except* OSError:
                pass
            finally:
                self._connections.discard(task)
                _reset(writer)
                if upstream is not None:
                    _reset(upstream)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
        *,
        asks: bool,
    ) -> None:
        while part := await reader.read(_READ_BYTES):
            if asks and not GROUP_KINDS.isdisjoint(connection.kinds.seen_in(part)):
                connection.is_to_coordinator = True
            if connection.is_to_coordinator and self._is_withheld(connection.client_port):
                await self._healed.wait()
                raise ConnectionResetError
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            writer.write(part)
            await writer.drain()
        # One side is done. Ending both keeps the other from waiting for answers that never come.
        raise ConnectionResetError


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def _nobodys(_client_port: int) -> bool:
    return False
