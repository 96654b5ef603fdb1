import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from handoff.chunk import STATUS_FAILED, Chunk, Outcomes
from serve_models.chunks.call import Call, wake_consumers
from serve_models.chunks.failures import encode_failure_body

AN_HOUR_S = 3600.0


def call_of(records: int, linger_s: float, consumer: str = "consumer-1") -> Call:
    return Call(Chunk(consumer, [b"{}"] * records), linger_s)


def stream_of(call: Call) -> AsyncIterator[Outcomes]:
    return call.stream("replica", lambda: 1)


async def test_outcomes_gather_until_all_are_there() -> None:
    call = call_of(3, AN_HOUR_S)
    for index in (2, 0, 1):
        call.answer(index, 200, b"%d" % index)
    async with asyncio.timeout(120):
        lists = [outcomes async for outcomes in stream_of(call)]
    assert [(o.indexes, o.bodies) for o in lists] == [([2, 0, 1], [b"2", b"0", b"1"])]


async def test_the_last_outcome_ends_the_wait_of_those_before() -> None:
    call = call_of(2, AN_HOUR_S)
    stream = stream_of(call)
    waiting = asyncio.ensure_future(anext(stream))
    call.answer(0, 200, b"")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    call.answer(1, 200, b"")
    async with asyncio.timeout(120):
        assert (await waiting).indexes == [0, 1]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_without_linger_outcomes_go_as_they_come() -> None:
    call = call_of(2, 0.0)
    stream = stream_of(call)
    call.answer(1, 200, b"")
    assert (await anext(stream)).indexes == [1]
    call.answer(0, 200, b"")
    assert (await anext(stream)).indexes == [0]


async def test_after_the_linger_what_is_there_goes() -> None:
    call = call_of(2, 1e-6)
    call.answer(1, 200, b"")
    async with asyncio.timeout(120):
        assert (await anext(stream_of(call))).indexes == [1]


async def test_a_call_that_is_silent_for_long_says_who_has_it() -> None:
    call = call_of(1, AN_HOUR_S)
    call.named_after_s = 1e-6
    stream = stream_of(call)
    async with asyncio.timeout(120):
        named = await anext(stream)
        call.answer(0, 200, b"")
        assert [named.indexes, *[each.indexes async for each in stream]] == [[], [0]]
        quick = call_of(1, AN_HOUR_S)
        quick.named_after_s = 1e-6
        quick.answer(0, 200, b"")
        assert [each.indexes async for each in stream_of(quick)] == [[0]]
        assert [each async for each in stream_of(call_of(0, AN_HOUR_S))] == []


async def test_the_first_outcome_of_a_record_counts() -> None:
    call = call_of(2, AN_HOUR_S)
    call.answer(0, 200, b"first")
    call.answer(0, 500, b"second")
    assert not call.waits_for(0)
    assert call.waits_for(1)
    call.fail_unanswered(RuntimeError("gone"))
    outcomes = await anext(stream_of(call))
    assert outcomes.statuses == [200, STATUS_FAILED]
    assert outcomes.bodies[0] == b"first"


async def test_one_call_of_each_consumer_tells_its_window_without_outcomes() -> None:
    calls = [call_of(1, 0.0, name) for name in ("a", "b", "b", "c")]
    streams = [stream_of(call) for call in calls]
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(0)
    wake_consumers(calls, ["b", "c", "gone"])
    for _ in range(10):
        await asyncio.sleep(0)
    assert [each.done() for each in waiting] == [False, True, False, True]
    assert waiting[1].result().indexes == []
    for call in calls:
        call.answer(0, 200, b"")
    async with asyncio.timeout(120):
        assert [each.indexes async for each in streams[1]] == [[0]]
        assert (await waiting[0]).indexes == [0]
    await asyncio.gather(*waiting)


def test_a_failure_body_survives_any_message() -> None:
    body = orjson.loads(encode_failure_body(RuntimeError("lone surrogate \ud800 " + "x" * 9999)))
    assert body["error"]["code"] == "model_failed"
    assert len(body["error"]["message"]) == 500
