"""The console binds its own address, waits for it, and is not open without its tokens."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import pytest

from headrace.console.web import connections
from headrace.console.web.server import MOST_CONNECTIONS, ConsoleServer
from schemas.settings.console import ConsoleSettings
from tests.consoles import FakeConsole


async def until(server: ConsoleServer, is_open: bool) -> None:
    async with asyncio.timeout(120):
        while (server.problem is None) != is_open:
            await asyncio.sleep(0.01)


async def test_it_opens_and_closes() -> None:
    server = ConsoleServer(FakeConsole().app, ConsoleSettings(port=0))
    running = asyncio.create_task(server.run())
    await until(server, is_open=True)
    async with httpx2.AsyncClient() as client:
        answer = await client.get(f"{server.url}/healthz")
        assert answer.json() == {"status": "ok"}
        assert "server" not in answer.headers
        huge = await client.get(f"{server.url}/healthz", headers={"x-large": "x" * 20_000})
        assert huge.status_code in (400, 431)
    await server.stop(running)
    assert running.done()


async def test_a_port_that_another_has_is_named_and_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = ConsoleServer(FakeConsole().app, ConsoleSettings(port=port))
        running = asyncio.create_task(server.run())
        async with asyncio.timeout(120):
            while "another program has" not in (server.problem or ""):
                await asyncio.sleep(0.01)
        assert "console.port" in (server.problem or "")
    await until(server, is_open=True)
    assert server.url == f"http://127.0.0.1:{port}"
    await server.stop(running)


async def test_without_its_token_it_is_not_open() -> None:
    server = ConsoleServer(
        FakeConsole().app, ConsoleSettings(port=0), lambda: "console.read_token_file: no file"
    )
    running = asyncio.create_task(server.run())
    async with asyncio.timeout(120):
        while server.problem == "it is starting":
            await asyncio.sleep(0.01)
    assert server.problem == "console.read_token_file: no file"
    assert server.port == 0
    await server.stop(running)


@asynccontextmanager
async def open_console() -> AsyncIterator[ConsoleServer]:
    server = ConsoleServer(FakeConsole().app, ConsoleSettings(port=0))
    running = asyncio.create_task(server.run())
    await until(server, is_open=True)
    try:
        yield server
    finally:
        await server.stop(running)


async def is_ended(reader: asyncio.StreamReader) -> bool:
    """Whether the console has closed this connection, as soon as it has."""
    try:
        while await reader.read(65_536):
            pass
    except ConnectionError:
        pass
    return True


async def test_silent_connections_keep_nobody_out() -> None:
    async with open_console() as server, AsyncExitStack() as stack:
        silent = []
        for number in range(MOST_CONNECTIONS + 60):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            if number % 3:
                writer.write(b"GET /healthz HTTP/1.1\r\n" if number % 3 == 1 else b"")
            silent.append(reader)
        async with httpx2.AsyncClient() as client:
            for _ in range(5):
                assert (await client.get(f"{server.url}/healthz")).status_code == 200
        # Those that have waited for longest made room.
        async with asyncio.timeout(20):
            assert all([await is_ended(each) for each in silent[:50]])


async def test_who_listens_is_not_closed_for_who_is_silent() -> None:
    async with open_console() as server, AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx2.AsyncClient(timeout=20))
        events = await stack.enter_async_context(client.stream("GET", f"{server.url}/api/events"))
        lines = events.aiter_lines()
        assert await anext(lines) == "retry: 1000"
        for _ in range(MOST_CONNECTIONS + 20):
            _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
        async with asyncio.timeout(20):
            while not (await anext(lines)).startswith("event: overview"):
                pass


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nhost: x",
        (
            b"POST /api/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"x-headrace-console: 1\r\ncontent-length: 9\r\n\r\n{"
        ),
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\n",
    ],
)
async def test_a_request_has_a_deadline(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_WITHIN_S", 0.1)
    async with open_console() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        async with asyncio.timeout(10):
            assert await is_ended(reader)
        writer.close()


async def test_a_connection_is_kept_between_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_WITHIN_S", 0.05)
    request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    async with open_console() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(3):
            writer.write(request)
            assert b"200" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(b'{"status":"ok"}'))
            await asyncio.sleep(0.2)
        writer.close()
