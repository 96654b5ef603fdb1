"""A model replica: ``python -m tests.bulk_chaos.replica PORT LEDGER REQUEST_MS``.

It speaks as ``tests.chaos.stage.model_replica`` does. A text's vector follows from the text alone.
Each request that it computes is a line of the ledger, before the answer leaves: a kill cannot hide
that work was done twice.
"""

import asyncio
import base64
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from handoff.chunk import STATUS_OK
from tests.chaos.stage.model_replica import MAX_LINE_BYTES, WINDOW_RECORDS

REFUSED_MARK = "refuse me"
"""A request with such a text is refused as a whole."""
_REFUSED_STATUS = 400
_DIMENSIONS = 12
_LINGER_S = 0.005
_REFUSAL = b'{"error":{"message":"input: is refused","code":"invalid_value","param":"input"}}'


def vector_of(text: str) -> "np.ndarray[Any, np.dtype[np.float32]]":
    digest = np.frombuffer(sha256(text.encode()).digest(), np.uint8)
    return (digest[:_DIMENSIONS] / 7).astype(np.float32)


class Replica:
    """Answers calls of embeddings.

    Args:
        ledger: The file of what was computed.
        request_s: How long each request takes.
    """

    def __init__(self, ledger: Path, request_s: float) -> None:
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._request_s = request_s

    async def serve_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one call, outcomes as they finish."""
        tasks: dict[asyncio.Task[tuple[int, bytes]], int] = {}
        try:
            lines: list[str] = orjson.loads(await reader.readline())
            for index, line in enumerate(lines):
                tasks[asyncio.create_task(self._compute(line))] = index
            while tasks:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                outcomes = [
                    (tasks.pop(task), task.result()[0], task.result()[1].decode()) for task in done
                ]
                name = f"replica-{os.getpid()}"
                reply = {"replica": name, "window_records": WINDOW_RECORDS, "outcomes": outcomes}
                writer.write(orjson.dumps(reply) + b"\n")
                await writer.drain()
                await asyncio.sleep(_LINGER_S)
        except (OSError, orjson.JSONDecodeError):
            pass
        finally:
            for task in tasks:
                task.cancel()
            writer.close()

    async def _compute(self, line: str) -> tuple[int, bytes]:
        request = orjson.loads(line)
        texts = request["body"]["input"]
        await asyncio.sleep(self._request_s)
        if any(REFUSED_MARK in text for text in texts):
            return _REFUSED_STATUS, _REFUSAL
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector_of(text).astype("<f4").tobytes()).decode(),
            }
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        body = {"object": "list", "data": data, "model": "chaos", "usage": usage}
        os.write(self._ledger, request["custom_id"].encode() + b"\n")
        return STATUS_OK, orjson.dumps(body)


async def main(port: int, replica: Replica) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(replica.serve_call, "127.0.0.1", port, limit=MAX_LINE_BYTES)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Replica(Path(sys.argv[2]), int(sys.argv[3]) / 1000)))
