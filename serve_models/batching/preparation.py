"""Prepares a chunk's next records for the model, one slice at a time."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from handoff.chunk import Chunk
from handoff.clock import Clock
from serve_models.batching.work import Request, RequestReader
from serve_models.chunks.call import Call
from serve_models.chunks.failures import Refusal
from serve_models.chunks.watchdog import Patience, Watchdog

MOST_RECORDS = 64
"""A chunk is tokenized in slices, so that chunks take turns and the model starts on the first."""
_MOST_CHARACTERS = 1_048_576
"""The most of several records; a record with more goes by itself."""
_MOST_POOL_TOKENS = 4 * 1024 * 1024
"""More wait in their chunks: token ids take four bytes each, and fewer make even batches."""


@dataclass(slots=True)
class Slice:
    """Some of a chunk's records, prepared.

    Attributes:
        stop: The chunk's next record.
        indexes: Records that were alive, by their position in the chunk.
        prepared: The request of each of them, or its refusal.
        expired: Records that were past their deadline.
        duration_s: How long it took.
        truncated_texts: Texts that were cut to the model's length.
    """

    stop: int
    indexes: list[int] = field(default_factory=list)
    prepared: Sequence[Request | Refusal] = field(default_factory=list)
    expired: list[int] = field(default_factory=list)
    duration_s: float = 0.0
    truncated_texts: int = 0


def prepare_slice(
    reader: RequestReader, chunk: Chunk, start: int, is_expired: Callable[[int | None], bool]
) -> Slice:
    most_stop = min(start + MOST_RECORDS, len(chunk.lines))
    result = Slice(stop=most_stop)
    characters = 0
    for index in range(start, most_stop):
        if is_expired(chunk.deadline_ms(index)):
            result.expired.append(index)
            continue
        characters += reader.characters(chunk.lines[index])
        if result.indexes and characters > _MOST_CHARACTERS:
            result.stop = index
            break
        result.indexes.append(index)
    lines = [chunk.lines[index] for index in result.indexes]
    result.prepared = reader.prepare(lines, chunk.max_body_bytes)
    result.truncated_texts = sum(
        text.truncated
        for request in result.prepared
        if not isinstance(request, Refusal)
        for text in request.texts
    )
    return result


class Preparation:
    """Prepares slices of many chunks in threads of its own, as the pool has room for them.

    All methods belong to one event loop. A change of ``reader`` applies to new slices.

    Args:
        reader: Prepares them; as many threads at a time as ``threads`` says.
        clock: For deadlines and the watchdog.
        patience: How long a slice may take.
        pool_tokens: Tokens that wait in the pool.
        threads: Slices at a time.
    """

    def __init__(
        self,
        reader: RequestReader,
        clock: Clock,
        patience: Patience,
        pool_tokens: Callable[[], int],
        threads: int = 1,
    ) -> None:
        # A call has one slice at a time.
        self._slices: dict[Call, range] = {}
        self.reader = reader
        self._clock = clock
        self._pool_tokens = pool_tokens
        self._turn = asyncio.Lock()
        self._may_have_room = asyncio.Event()
        self._watchdog = Watchdog(patience)
        self._is_parallel = threads > 1
        self._threads = ThreadPoolExecutor(threads, "headrace-tokenizer")

    async def next_slice(self, call: Call, start: int) -> Slice:
        # Of those that wait for room, one at a time finds it.
        async with self._turn:
            while self._pool_tokens() >= _MOST_POOL_TOKENS:
                self._may_have_room.clear()
                await self._may_have_room.wait()
            loop = asyncio.get_running_loop()
            prepared = loop.run_in_executor(self._threads, self._prepare, call, start)
            if not self._is_parallel:
                return await prepared
        return await prepared

    @property
    def under_way(self) -> list[tuple[Call, int]]:
        """Records that may be in the tokenizer now, by call and index."""
        return [(call, index) for call, part in list(self._slices.items()) for index in part]

    def pool_shrank(self) -> None:
        self._may_have_room.set()

    def overdue_s(self) -> float | None:
        return self._watchdog.overdue_s(self._clock.monotonic())

    def shut_down(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, call: Call, start: int) -> Slice:
        self._slices[call] = range(start, min(start + MOST_RECORDS, len(call.chunk.lines)))
        began_s = self._clock.monotonic()
        self._watchdog.began(call, began_s)
        try:
            prepared = prepare_slice(self.reader, call.chunk, start, self._is_expired)
            prepared.duration_s = self._clock.monotonic() - began_s
            return prepared
        finally:
            self._watchdog.finished(call, self._clock.monotonic())
            del self._slices[call]

    def _is_expired(self, deadline_ms: int | None) -> bool:
        return deadline_ms is not None and deadline_ms <= self._clock.epoch_ms()
