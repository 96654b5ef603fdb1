"""Calls of a model's deployment, and what becomes of the handle's stream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from handoff.chunk import Chunk, Outcomes
from handoff.model_handle import ModelHandle


class FakeStream:
    """What a streaming handle call returns."""

    def __init__(self, *, is_accepted: bool, items: list[Outcomes | Exception]) -> None:
        self._is_accepted = is_accepted
        self._items = items
        self.is_cancelled = False
        self.has_more = asyncio.Event()

    async def _to_object_ref_gen(self) -> None:
        if not self._is_accepted:
            await asyncio.Event().wait()

    async def __aiter__(self) -> AsyncIterator[Outcomes]:
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            yield item
        await self.has_more.wait()

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeHandle:
    def __init__(self, *streams: FakeStream) -> None:
        self._streams = list(streams)
        self.chunks: list[Chunk] = []

    def options(self, **options: object) -> "FakeHandle":
        assert options == {"stream": True, "method_name": "infer"}
        return self

    def remote(self, chunk: Chunk) -> FakeStream:
        self.chunks.append(chunk)
        return self._streams.pop(0)


CHUNK = Chunk("pipeline-1", [b"{}"])


async def test_a_call_that_no_replica_takes_is_made_anew() -> None:
    waiting = FakeStream(is_accepted=False, items=[])
    taken = FakeStream(is_accepted=True, items=[Outcomes("r", 1)])
    handle = FakeHandle(waiting, taken)
    infer = ModelHandle(handle, acceptance_s=0.0).infer(CHUNK)
    assert [(await anext(infer)).replica for _ in range(2)] == ["", "r"]
    assert waiting.is_cancelled
    assert not taken.is_cancelled
    assert handle.chunks == [CHUNK, CHUNK]


async def test_closing_the_stream_cancels_the_call() -> None:
    stream = FakeStream(is_accepted=True, items=[Outcomes("r", 1)])
    infer = ModelHandle(FakeHandle(stream)).infer(CHUNK)
    await anext(infer)
    assert isinstance(infer, AsyncGenerator)
    await infer.aclose()
    assert stream.is_cancelled


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_whoever_waits_and_is_cancelled_cancels_the_call(is_accepted: bool) -> None:
    stream = FakeStream(is_accepted=is_accepted, items=[])
    infer = ModelHandle(FakeHandle(stream)).infer(CHUNK)
    if is_accepted:
        await anext(infer)
    waiting = asyncio.ensure_future(anext(infer))
    for _ in range(5):
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert stream.is_cancelled


async def test_a_lost_replica_raises() -> None:
    stream = FakeStream(is_accepted=True, items=[Outcomes("r", 1), RuntimeError("actor died")])
    infer = ModelHandle(FakeHandle(stream)).infer(CHUNK)
    for _ in range(2):
        await anext(infer)
    with pytest.raises(RuntimeError, match="actor died"):
        await anext(infer)
