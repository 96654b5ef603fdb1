"""Models that cost next to nothing, so that the service is what is measured."""

import asyncio
import base64
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import orjson

from handoff.chunk import STATUS_OK, Chunk, Outcomes
from serve_models.chunks.call import Call

_GATE_POLL_S = 0.005
_ID_AT = len(b'{"custom_id":"')


class Noop:
    """Answers every record of a chunk at once, in one list.

    Args:
        body_bytes: Size of each response body, at least 16. The bodies of a chunk differ, since
            pickle would send equal objects only once.
        window_records: Records wanted in flight from each consumer.
        gate_file: While this file exists, no outcome is yielded.
    """

    def __init__(
        self, *, body_bytes: int = 16, window_records: int = 2048, gate_file: str | None = None
    ) -> None:
        self._body_bytes = body_bytes
        self._window_records = window_records
        self._gate = None if gate_file is None else Path(gate_file)
        self._bodies: list[bytes] = []
        self._replica = f"noop-{os.getpid()}"

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Yield the outcomes of all records, once the gate is open."""
        await self._gate_opened()
        records = len(chunk.lines)
        while len(self._bodies) < records:
            self._bodies.append(self.body(len(self._bodies), self._body_bytes))
        yield Outcomes(
            replica=self._replica,
            window_records=self._window_records,
            indexes=list(range(records)),
            statuses=[STATUS_OK] * records,
            bodies=self._bodies[:records],
        )

    def body(self, number: int, size_bytes: int) -> bytes:
        """Return a response body; those of a chunk differ."""
        return noop_body(number, size_bytes)

    async def _gate_opened(self) -> None:
        # Another process opens it, and cannot set an event here.
        while self._gate is not None and self._gate.exists():  # noqa: ASYNC110
            await asyncio.sleep(_GATE_POLL_S)


class NoopEmbedder:
    """Answers each record of a chunk with as many vectors as it has texts, all of them alike.

    The number of texts is read from a ``custom_id`` as the bulk command writes it (JOB/FIRST-END),
    since reading the body would be the largest cost.

    Args:
        dimensions: Of each vector, float32 in base64.
        window_records: Records wanted in flight from each consumer.
    """

    def __init__(self, *, dimensions: int = 384, window_records: int = 256) -> None:
        self._vector = base64.b64encode(struct.pack("<f", 0.05) * dimensions).decode()
        self._window_records = window_records
        self._bodies: dict[int, bytes] = {}
        self._replica = f"noop-embedder-{os.getpid()}"

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Yield the outcomes of all records."""
        records = len(chunk.lines)
        yield Outcomes(
            replica=self._replica,
            window_records=self._window_records,
            indexes=list(range(records)),
            statuses=[STATUS_OK] * records,
            # Copies: pickle would send equal objects only once.
            bodies=[bytes(bytearray(self._body(each))) for each in chunk.lines],
        )

    def _body(self, line: bytes) -> bytes:
        place = line[: line.index(b'"', _ID_AT)].rpartition(b"/")[2]
        first, _, end = place.partition(b"-")
        texts = int(end) - int(first)
        if texts not in self._bodies:
            data = [
                {"object": "embedding", "index": index, "embedding": self._vector}
                for index in range(texts)
            ]
            usage = {"prompt_tokens": texts, "total_tokens": texts}
            body = {"object": "list", "data": data, "model": "noop", "usage": usage}
            self._bodies[texts] = orjson.dumps(body)
        return self._bodies[texts]


class NoopChat(Noop):
    """A ``Noop`` whose bodies are chat completions."""

    def body(self, number: int, size_bytes: int) -> bytes:  # noqa: ARG002 - a chat's size is its own
        """Return a chat completion, whatever ``size_bytes``."""
        return chat_body(number)


class Sleeper:
    """Sleeps as long as each record says, first come first served.

    Args:
        concurrency: Sleeps at a time, over all chunks of the replica.
        window_records: Records wanted in flight from each consumer; above ``concurrency``, so that
            a next sleep is ready when one ends.
        outcome_linger_ms: How long outcomes gather before they are streamed back.
    """

    def __init__(
        self,
        *,
        concurrency: int = 256,
        window_records: int = 1024,
        outcome_linger_ms: float = 10.0,
    ) -> None:
        # asyncio's semaphore wakes its waiters in the order in which they came.
        self._slots = asyncio.Semaphore(concurrency)
        self._window_records = window_records
        self._linger_s = outcome_linger_ms / 1000
        self._replica = f"sleeper-{os.getpid()}"

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream outcomes as the sleeps end."""
        call = Call(chunk, self._linger_s)
        sleeps = [
            asyncio.create_task(self._sleep(call, index, line))
            for index, line in enumerate(chunk.lines)
        ]
        try:
            async for outcomes in call.stream(self._replica, lambda: self._window_records):
                yield outcomes
        finally:
            for sleep in sleeps:
                sleep.cancel()

    async def _sleep(self, call: Call, index: int, line: bytes) -> None:
        sleep_ms = float(orjson.loads(line)["body"]["ms"])
        async with self._slots:
            await asyncio.sleep(sleep_ms / 1000)
        call.answer(index, STATUS_OK, b'{"slept_ms":%d}' % sleep_ms)


def chat_body(number: int) -> bytes:
    """Return a chat completion of one choice, as vLLM answers it, that differs by ``number``."""
    return orjson.dumps(
        {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1_795_000_000,
            "model": "noop",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": f"Answer {number}."},
                }
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        }
    )


def noop_body(number: int, size_bytes: int) -> bytes:
    """Return a JSON body of ``size_bytes`` bytes that differs by ``number``."""
    return b'{"n":"%s"}' % str(number).encode().rjust(size_bytes - 8, b".")
