"""A model of a fixed capacity that fails as a file says, so that faults begin and end at will."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from handoff.chunk import STATUS_FAILED, STATUS_OK, Chunk, Outcomes
from tests.each_record import infer_each

_STATUS_REFUSED = 400
_REFUSAL = b'{"error":{"message":"not like this","type":"invalid_request_error"}}'
_FAILURE = b'{"error":{"message":"this time it fails"}}'


@dataclass(frozen=True, slots=True)
class Orders:
    """What is wrong with the model.

    Attributes:
        hold_ms: How long a record keeps its slot.
        failing_share: Of the records, which fail; another attempt may succeed.
        fails_calls: Whether each call fails as a whole.
        refuses_start: Whether a new replica does not start.
    """

    hold_ms: float = 10.0
    failing_share: float = 0.0
    fails_calls: bool = False
    refuses_start: bool = False

    def write(self, folder: Path) -> None:
        """Let all replicas follow these from now on."""
        new = folder / "orders.new"
        new.write_bytes(orjson.dumps(asdict(self)))
        new.replace(folder / "orders.json")


def read_orders(folder: Path) -> Orders:
    return Orders(**orjson.loads((folder / "orders.json").read_bytes()))


class FaultyModel:
    """Computes ``slots`` records at a time; ``body.ms`` makes a record take longer."""

    def __init__(self, folder: str, slots: int = 16) -> None:
        self._folder = Path(folder)
        if read_orders(self._folder).refuses_start:
            raise RuntimeError("the weights are damaged")
        self._slots = asyncio.Semaphore(slots)
        self._window_records = 512
        self._rng = random.Random()

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        orders = read_orders(self._folder)
        if orders.fails_calls:
            raise RuntimeError("the device is gone")

        async def compute(line: bytes) -> tuple[int, bytes]:
            return await self._compute(line, orders)

        found = infer_each(
            chunk, compute, replica=f"faulty-{os.getpid()}", window_records=self._window_records
        )
        async with aclosing(found):
            async for outcomes in found:
                yield outcomes

    async def _compute(self, line: bytes, orders: Orders) -> tuple[int, bytes]:
        body = orjson.loads(line)["body"]
        if body.get("refuse"):
            return _STATUS_REFUSED, _REFUSAL
        if "ms" in body:
            # Beside the slots: one slow record must not take the others' capacity.
            await asyncio.sleep(body["ms"] / 1000)
            return STATUS_OK, b'{"slept":true}'
        async with self._slots:
            await asyncio.sleep(orders.hold_ms / 1000)
        if self._rng.random() < orders.failing_share:
            return STATUS_FAILED, _FAILURE
        return STATUS_OK, b'{"done":true}'
