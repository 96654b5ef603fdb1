"""The life of calls, over work that the test does itself."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from handoff.chunk import STATUS_EXPIRED, STATUS_UNAVAILABLE, Chunk, Outcomes
from serve_models.chunks.call import Call
from serve_models.chunks.chunk_server import ChunkServer, Host, ReplicaLostError
from serve_models.chunks.window import SharedWindow
from tests.unit.serve_models.fakes import FakeClock, host


class Server(ChunkServer):
    """Works on a call when the test says so."""

    def __init__(self, where: Host) -> None:
        super().__init__(where, SharedWindow(8), outcome_linger_ms=0.0)
        self.calls: list[Call] = []
        self.released: list[Call] = []
        self.let_go: list[int] = []
        self.is_shut_down = False
        self.hangs = False

    def _begin(self, call: Call) -> None:
        self.calls.append(call)
        for index in range(len(call.chunk.lines)):
            self._expire_if_late(call, index)

    def _let_go(self, call: Call, index: int) -> None:
        self.let_go.append(index)

    def _release(self, call: Call) -> None:
        self.released.append(call)

    def _check_alive(self) -> None:
        if self.hangs:
            raise ReplicaLostError("it hangs")

    def _shut_down(self) -> None:
        self.is_shut_down = True

    def run(self, error: BaseException) -> None:
        self._start(partial(fail, error))


async def fail(error: BaseException) -> None:
    raise error


async def collect(stream: AsyncIterator[Outcomes], collected: list[int]) -> None:
    async with asyncio.timeout(120):
        async for outcomes in stream:
            collected.extend(outcomes.indexes)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def chunk(
    records: int,
    consumer: str = "c",
    deadlines_ms: list[int | None] | None = None,
    call: int = 0,
) -> Chunk:
    return Chunk(consumer, [b"{}"] * records, deadlines_ms or [], call=call)


async def test_a_new_consumer_learns_its_window_first() -> None:
    server = Server(host())
    stream = server.infer(chunk(1))
    assert await anext(stream) == Outcomes("replica-1", 8)
    await stream.aclose()
    assert server.released == server.calls


async def test_a_record_past_its_deadline_is_answered_without_work() -> None:
    clock = FakeClock()
    server = Server(host(clock))
    stream = server.infer(chunk(3, deadlines_ms=[clock.now_ms, clock.now_ms + 1, None]))
    await anext(stream)
    outcomes = await anext(stream)
    assert (outcomes.indexes, outcomes.statuses) == ([0], [STATUS_EXPIRED])
    assert server.calls[0].waits_for(1)
    await stream.aclose()


@pytest.mark.parametrize("error", [AssertionError("a bug"), ReplicaLostError("a bug")])
async def test_work_that_raises_ends_the_server_and_all_its_calls(error: Exception) -> None:
    server = Server(host())
    collected: list[int] = []
    tasks = [asyncio.create_task(collect(server.infer(chunk(2)), collected)) for _ in range(2)]
    await settle()
    server.calls[0].answer(1, 200, b"{}")
    server.run(error)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert collected == [1]
    assert all(isinstance(each, ReplicaLostError) and "a bug" in str(each) for each in ended)
    # An error that several calls raise would gather their tracebacks.
    assert ended[0] is not ended[1]
    with pytest.raises(ReplicaLostError, match="a bug"):
        server.check_health()
    with pytest.raises(ReplicaLostError, match="a bug"):
        await anext(server.infer(chunk(1)))


async def test_the_line_of_a_dead_server_quotes_no_record(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(host())
    task = asyncio.create_task(collect(server.infer(chunk(1)), []))
    await settle()
    server.run(ValueError("cannot parse 'a text of a user'"))
    with pytest.raises(ReplicaLostError):
        await task

    [line] = [each for each in caplog.records if getattr(each, "event", "") == "replica_lost"]
    assert line.getMessage() == "the replica cannot go on: ValueError"


async def test_a_call_that_finds_a_hanging_server_ends_with_the_process() -> None:
    deaths: list[str] = []
    server = Server(host(on_death=lambda: deaths.append("dead")))
    collected: list[int] = []
    tasks = [asyncio.create_task(collect(server.infer(chunk(1)), collected))]
    await settle()
    server.hangs = True
    tasks.append(asyncio.create_task(collect(server.infer(chunk(1)), collected)))
    await settle()
    assert deaths == ["dead"]
    assert not any(task.done() for task in tasks)
    await server.stop()
    for task in tasks:
        with pytest.raises(ReplicaLostError, match="it hangs"):
            await task
    assert deaths == ["dead"]
    assert server.is_shut_down


async def test_a_stop_is_no_death() -> None:
    deaths: list[str] = []
    server = Server(host(on_death=lambda: deaths.append("dead")))
    task = asyncio.create_task(collect(server.infer(chunk(1)), []))
    await settle()
    await server.stop()
    with pytest.raises(ReplicaLostError, match="the replica was stopped"):
        await task
    assert deaths == []
    assert server.released == server.calls


async def test_a_cancelled_record_is_answered_and_its_call_goes_on() -> None:
    server = Server(host())
    collected: list[int] = []
    task = asyncio.create_task(collect(server.infer(chunk(3, call=7)), collected))
    await settle()
    server.cancel("c", {7: [1], 8: [0]})
    server.cancel("another", {7: [0]})
    await settle()
    assert collected == [1]
    assert server.let_go == [1]
    server.cancel("c", {7: [1]})
    assert server.let_go == [1]
    for index in (0, 2):
        server.calls[0].answer(index, 200, b"{}")
    await task
    assert collected == [1, 0, 2]
    server.cancel("c", {7: [0]})
    assert server.let_go == [1]


async def test_a_call_ends_when_all_its_records_are_cancelled() -> None:
    server = Server(host())
    stream = server.infer(chunk(2, call=7))
    await anext(stream)
    server.cancel("c", {7: [0, 1]})
    outcomes = await anext(stream)
    assert outcomes.statuses == [STATUS_UNAVAILABLE] * 2
    assert [each async for each in stream] == []
    assert server.released == server.calls


async def test_answered_records_make_room_for_another_consumer_before_their_call_ends() -> None:
    server = Server(host())
    eight = Chunk("bulk", [b"{}"] * 8, wanted_records=8, call=1)
    bulk = asyncio.create_task(collect(server.infer(eight), []))
    await settle()
    for index in range(7):
        server.calls[0].answer(index, 200, b"{}")
    await settle()
    stream = server.infer(chunk(1, "other"))
    # "bulk" wants no more than the one record that it has left.
    assert (await anext(stream)).window_records == 7
    await stream.aclose()
    await server.stop()
    with pytest.raises(ReplicaLostError):
        await bulk
