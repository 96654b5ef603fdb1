"""Calls of a model that Serve has given up wait, and count against nobody."""

import asyncio
from typing import Any

import pytest

from handoff import model_handle
from handoff.chunk import STATUS_UNAVAILABLE, Chunk, Outcomes
from handoff.model_handle import PATIENCE_S, ModelHandle


class UnavailableError(Exception):
    """What Serve raises."""


class Handle:
    """Refuses the first calls, as Serve does where no replica could start."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.calls = 0

    def options(self, **_options: Any) -> Any:
        return self

    def remote(self, _chunk: Chunk) -> Any:
        self.calls += 1
        return Stream(self.calls <= self.refusals)


class Stream:
    def __init__(self, is_refused: bool) -> None:
        self._is_refused = is_refused
        self._items = [Outcomes("replica-1", 8)]

    async def _to_object_ref_gen(self) -> None:
        if self._is_refused:
            raise UnavailableError

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Outcomes:
        if not self._items:
            raise StopAsyncIteration
        return self._items.pop()

    def cancel(self) -> None:
        pass


class StillClock:
    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return 0


def waits(model: ModelHandle) -> bool:
    return model.is_waiting


async def test_a_consumer_waits_until_its_model_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_handle, "LOOK_AGAIN_S", 0.001)
    handle = Handle(refusals=3)
    stream = ModelHandle(handle, unavailable=UnavailableError).infer(Chunk("consumer", [b"{}"]))

    assert (await anext(stream)).replica == "", "a replica has taken the call"
    assert handle.calls == 4
    assert (await anext(stream)).replica == "replica-1"


async def test_a_call_that_a_lost_replica_never_accepts_goes_to_another() -> None:
    class Lost(Stream):
        is_cancelled = False

        async def _to_object_ref_gen(self) -> None:
            await asyncio.Event().wait()

        def cancel(self) -> None:
            self.is_cancelled = True

    lost = Lost(is_refused=False)

    class Router(Handle):
        def remote(self, chunk: Chunk) -> Any:
            found = super().remote(chunk)
            return lost if self.calls == 1 else found

    model = ModelHandle(Router(refusals=0), 0.01, unavailable=UnavailableError)
    found = [each.replica async for each in model.infer(Chunk("consumer", [b"{}"]))]

    assert found == ["", "replica-1"]
    assert lost.is_cancelled


async def test_a_consumer_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_handle, "LOOK_AGAIN_S", 0.001)
    clock, handle = StillClock(), Handle(refusals=1_000_000)
    client = ModelHandle(handle, unavailable=UnavailableError, clock=clock)
    calling = asyncio.ensure_future(anext(client.infer(Chunk("consumer", [b"{}"]))))
    while not handle.calls:
        await asyncio.sleep(0)
    assert not waits(client)

    clock.now_s = PATIENCE_S
    assert waits(client)

    handle.refusals = 0
    await calling
    assert not waits(client)


async def test_a_pipeline_turns_records_away_while_a_step_s_model_is_given_up() -> None:
    chunk = Chunk("pipeline", [b"{}", b"{}"])

    model = ModelHandle(Handle(refusals=1), unavailable=UnavailableError, turns_away=True)
    [outcomes] = [each async for each in model.infer(chunk)]

    assert outcomes.indexes == [0, 1]
    assert outcomes.statuses == [STATUS_UNAVAILABLE] * 2


class Told:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def results_async(self, **_options: Any) -> list[None]:
        if self._error is not None:
            raise self._error
        return []


class BroadcastingHandle(Handle):
    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(refusals=0)
        self.told: list[tuple[str, str, Any]] = []
        self._error = error

    def broadcast(self, method: str, consumer: str, records: Any) -> Told:
        self.told.append((method, consumer, records))
        return Told(self._error)


async def test_a_cancellation_goes_to_all_replicas_and_never_fails() -> None:
    for error in (None, UnavailableError("no replica"), TimeoutError()):
        handle = BroadcastingHandle(error)
        await ModelHandle(handle).cancel("consumer", {3: [0, 2]})
        assert handle.told == [("cancel", "consumer", {3: [0, 2]})]
