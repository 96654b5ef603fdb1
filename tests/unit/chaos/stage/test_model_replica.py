"""A call hangs in a replica that answers the next one."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from handoff.chunk import Chunk, Outcomes
from tests.chaos.load.records import line
from tests.chaos.stage import model_replica
from tests.chaos.stage.model_client import ChaosModelClient
from tests.chaos.stage.ports import reserve_port


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChaosModelClient]:
    monkeypatch.setattr(model_replica, "hanging", model_replica.Hanging())
    port = reserve_port()
    server = await asyncio.start_server(model_replica.serve_call, "127.0.0.1", port)
    yield ChaosModelClient([port])
    server.close()


def call(client: ChaosModelClient) -> AsyncIterator[Outcomes]:
    return client.infer(Chunk("consumer", [line("a", ms=0)]))


async def test_a_call_is_taken_and_then_answered(client: ChaosModelClient) -> None:
    outcomes = [each async for each in call(client)]
    assert [len(each.indexes) for each in outcomes] == [0, 1]


async def test_hung_calls_are_taken_and_not_answered(client: ChaosModelClient) -> None:
    model_replica.hanging.begin()
    hung = [call(client) for _ in range(model_replica.HUNG_CALLS)]
    for each in hung:
        assert not (await anext(each)).indexes
    waiting = [asyncio.ensure_future(anext(each)) for each in hung]
    # They reach the replica before the next one.
    await asyncio.wait(waiting, timeout=0.05)
    assert [len(each.indexes) async for each in call(client)] == [0, 1]
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
