"""What a consumer loop and its tasks keep alive while one request of many takes for ever."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

from consumer.ports import Message
from handoff.chunk import Chunk, Outcomes
from handoff.model_handle import ModelHandle
from tests.counting_model import CountingModel
from tests.reachable import reachable_bytes
from tests.simulated_service import URL, SimulatedService
from tests.simulation import simulate

PAYLOAD_BYTES = 10_000


class ForgetfulModel(CountingModel):
    """Answers at length, and keeps neither the lines that it was given nor its answers."""

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        lines = [orjson.loads(line) for line in chunk.lines]
        del chunk
        short = Outcomes("replica-1", 256)
        for index, line in enumerate(lines):
            if not line["body"]["ms"]:
                short.add(index, 200, orjson.dumps({"padding": "y" * PAYLOAD_BYTES}))
        answered = set(short.indexes)
        lines.clear()
        yield short
        del short
        await asyncio.sleep(3_600)
        last = Outcomes("replica-1", 256)
        for index in {*range(256)} - answered:
            last.add(index, 200, b"{}")
        yield last


def test_a_call_that_takes_long_keeps_no_payload_of_what_it_has_answered() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1, model=ForgetfulModel())
        for number in range(60):
            body = {"ms": 0 if number else 3_600_000, "padding": "x" * PAYLOAD_BYTES}
            value = orjson.dumps({"custom_id": f"r{number}", "url": URL, "body": body})
            service.broker.append([Message("requests", None, value, [])])
        member = await service.join()
        await asyncio.sleep(60)
        engine = member.engine
        assert engine.held_records == engine.in_flight_records
        assert 0 < engine.held_bytes < 30 * PAYLOAD_BYTES
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        kept_bytes = reachable_bytes([member, *tasks], beyond=[service.broker, service.model])
        assert kept_bytes <= engine.held_bytes + 1_000
        await service.close()

    simulate(main())


class Stream:
    """A stream of Serve's, as far as the client uses it."""

    def __init__(self, items: list[Outcomes]) -> None:
        self._items = items

    async def _to_object_ref_gen(self) -> None:
        pass

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Outcomes:
        if not self._items:
            await asyncio.sleep(3_600)
        return self._items.pop(0)

    def cancel(self) -> None:
        pass


class Handle:
    """A deployment's handle, likewise."""

    def options(self, **_options: Any) -> Any:
        return self

    def remote(self, _chunk: Chunk) -> Stream:
        outcomes = Outcomes("replica-1", 256)
        outcomes.add(0, 200, b"y" * PAYLOAD_BYTES)
        return Stream([outcomes])


def test_the_client_of_a_model_keeps_neither_requests_nor_answers() -> None:
    async def main() -> None:
        chunk = Chunk("consumer", [b"x" * PAYLOAD_BYTES])
        stream = ModelHandle(Handle()).infer(chunk)
        del chunk
        assert [(await anext(stream)).replica for _ in range(2)] == ["", "replica-1"]
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(1)
        assert reachable_bytes([stream, waiting]) < PAYLOAD_BYTES
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    simulate(main())
