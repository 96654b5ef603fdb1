"""A TCP proxy between clients and one broker: cuts, refusals and delays."""

import asyncio
import contextlib

_READ_BYTES = 64 * 1024


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
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Close everything."""
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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._is_refusing:
            _reset(writer)
            return
        self._connections.add(task)
        upstream: asyncio.StreamWriter | None = None
        # A cut is what this is for; to the server's own bookkeeping the connection just ended.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                broker, upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(self._pump(reader, upstream))
                    pumps.create_task(self._pump(broker, writer))
            except* OSError:
                pass
            finally:
                self._connections.discard(task)
                _reset(writer)
                if upstream is not None:
                    _reset(upstream)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(_READ_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            writer.write(part)
            await writer.drain()
        # One side is done; ending both keeps the other from waiting for answers that never come.
        raise ConnectionResetError


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
