"""A model that takes as long as each request says, and counts what it computes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import orjson

from handoff.chunk import STATUS_UNAVAILABLE, Chunk, Outcomes


class ReplicaDiedError(RuntimeError):
    """Stands for the error that Ray raises when a replica is gone."""


class CountingModel:
    """Sleeps ``body.ms`` for each record, then answers with its custom_id.

    Args:
        window_records: The window that it grants.
        is_poison: Custom ids whose computation kills the replica, and with it the whole call.
    """

    def __init__(
        self,
        window_records: int = 256,
        is_poison: Callable[[str], bool] = lambda _custom_id: False,
    ) -> None:
        self.window_records = window_records
        self.started: Counter[str] = Counter()
        self.computed: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.call_sizes: list[int] = []
        self.takes_cancellations = True
        self._open: dict[tuple[str, int], dict[int, asyncio.Future[bytes]]] = {}
        self._is_poison = is_poison
        self._replica_died = asyncio.Event()
        self._replica_hangs = asyncio.Event()

    async def hang(self) -> None:
        """Silence the replica under all calls; new ones go to another."""
        self._replica_hangs.set()
        await asyncio.sleep(0)
        self._replica_hangs = asyncio.Event()

    async def kill(self) -> None:
        """Kill the replica under all calls; a new one replaces it at once."""
        self._replica_died.set()
        await asyncio.sleep(0)
        self._replica_died = asyncio.Event()

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        died, hangs = self._replica_died, self._replica_hangs
        self.call_sizes.append(len(chunk.lines))
        yield Outcomes(replica="", window_records=0)
        tasks = {
            asyncio.ensure_future(self._compute(line)): index
            for index, line in enumerate(chunk.lines)
        }
        key = chunk.consumer, chunk.call
        self._open[key] = {index: task for task, index in tasks.items()}
        yield Outcomes(replica="replica-1", window_records=0)
        death, silence = asyncio.ensure_future(died.wait()), asyncio.ensure_future(hangs.wait())
        try:
            while tasks:
                done, _ = await asyncio.wait(
                    [*tasks, death, silence], return_when=asyncio.FIRST_COMPLETED
                )
                if silence in done:
                    await death
                if death.done():
                    raise ReplicaDiedError("killed")
                outcomes = Outcomes(replica="replica-1", window_records=self.window_records)
                for ended in tasks.keys() & done:
                    if ended.cancelled():
                        outcomes.add(tasks.pop(ended), STATUS_UNAVAILABLE, b"")
                    else:
                        outcomes.add(tasks.pop(ended), 200, ended.result())
                yield outcomes
        finally:
            self._open.pop(key, None)
            for task in (*tasks, death, silence):
                task.cancel()

    async def cancel(self, consumer: str, records: Mapping[int, Sequence[int]]) -> None:
        if not self.takes_cancellations:
            return
        for number, indexes in records.items():
            tasks = self._open.get((consumer, number), {})
            for index in indexes:
                tasks[index].cancel()

    async def _compute(self, line: bytes) -> bytes:
        request = orjson.loads(line)
        custom_id = request["custom_id"]
        self.started[custom_id] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(request["body"].get("ms", 0) / 1000)
            if self._is_poison(custom_id):
                raise ReplicaDiedError(f"{custom_id} kills its replica")
        finally:
            self.in_flight -= 1
        self.computed[custom_id] += 1
        return orjson.dumps({"echo": custom_id})
