"""The console binds its own address, waits for it, and is not open without its tokens."""

import asyncio
import socket

import httpx2

from headrace.console.web.server import ConsoleServer
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
