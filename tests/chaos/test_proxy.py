import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.chaos.ports import reserve_port
from tests.chaos.proxy import Proxy


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(100):
        writer.write(part)
    writer.close()


async def ends(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(100) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    target = reserve_port()
    server = await asyncio.start_server(echo, "127.0.0.1", target)
    proxy = Proxy(reserve_port(), target)
    await proxy.start()
    yield proxy
    await proxy.stop()
    server.close()


async def test_it_passes_bytes_on_and_cuts(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"there and back")
    assert await reader.read(100) == b"there and back"
    assert proxy.cut() == 1
    assert await ends(reader)
    writer.close()


async def test_while_it_is_cut_it_refuses(proxy: Proxy) -> None:
    cutting = asyncio.create_task(proxy.cut_for(60))
    await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await ends(reader)
    writer.close()
    cutting.cancel()
    await asyncio.wait([cutting])
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"again")
    assert await reader.read(100) == b"again"
    writer.close()
