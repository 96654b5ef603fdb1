import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.chaos.stage.ports import reserve_port
from tests.chaos.stage.proxy import Proxy

FETCH, HEARTBEAT = 1, 12


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


def request(kind: int) -> bytes:
    return (5).to_bytes(4, "big") + kind.to_bytes(2, "big") + b"abc"


async def test_it_withholds_what_is_for_the_coordinator(proxy: Proxy) -> None:
    streams = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(3)]
    (theirs, to_theirs), (data, to_data), (other, to_other) = streams
    ports = {each.get_extra_info("sockname")[1] for each in (to_theirs, to_data)}
    withholding = asyncio.create_task(proxy.withhold_for(60, ports.__contains__))
    await asyncio.sleep(0)
    for writer, kind in ((to_theirs, HEARTBEAT), (to_data, FETCH), (to_other, HEARTBEAT)):
        writer.write(request(kind))
    # A leader's answers pass, and so do the coordinator's to another client.
    assert await data.read(100) == request(FETCH)
    assert await other.read(100) == request(HEARTBEAT)
    answer = asyncio.create_task(ends(theirs))
    await asyncio.wait([answer], timeout=0.05)
    assert not answer.done()
    withholding.cancel()
    assert await answer
    for writer in (to_theirs, to_data, to_other):
        writer.close()
