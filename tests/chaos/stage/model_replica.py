"""A model replica as a process: ``python -m tests.chaos.stage.model_replica PORT``.

It speaks lines of JSON over TCP, so that a kill or a freeze hits exactly the model. Bodies say what
happens: ``ms`` sleeps, ``embed`` does a piece of real work, ``fail`` fails each time, ``poison``
ends the process. After SIGUSR1 the next calls hang: the replica takes them and never answers.
"""

import asyncio
import os
import signal
import sys
from hashlib import sha256
from typing import Any

import numpy as np
import orjson

from handoff.chunk import STATUS_FAILED, STATUS_OK

WINDOW_RECORDS = 256
MAX_LINE_BYTES = 64 * 1024 * 1024
POISON_STATUS = 9
HUNG_CALLS = 2
"""Fewer than a record has attempts: no record may be given up because of them."""
_DIMENSIONS = 384
_LINGER_S = 0.005

_weights = np.random.default_rng(7).standard_normal((_DIMENSIONS, _DIMENSIONS)).astype(np.float32)


class Hanging:
    """Which calls hang, while the replica continues with the others."""

    def __init__(self) -> None:
        self._left = 0

    def begin(self) -> None:
        """Let the next calls hang."""
        self._left = HUNG_CALLS

    def takes(self) -> bool:
        """Return whether the new call hangs."""
        self._left -= 1
        return self._left >= 0


hanging = Hanging()


async def compute(line: bytes) -> tuple[int, bytes]:
    """Return status and body of one request line."""
    request = orjson.loads(line)
    body = request["body"]
    if body.get("poison"):
        # By then neighbours of the same call are in flight.
        await asyncio.sleep(0.05)
        os._exit(POISON_STATUS)
    if "embed" in body:
        return STATUS_OK, embed(request["custom_id"], int(body["embed"]))
    await asyncio.sleep(body.get("ms", 0) / 1000)
    if body.get("fail"):
        return STATUS_FAILED, b'{"error":{"message":"it always fails"}}'
    return STATUS_OK, orjson.dumps({"echo": request["custom_id"]})


def embed(text: str, layers: int) -> bytes:
    """Do work of the shape of an embedding: matrix products, then a page of floats as JSON."""
    # From a digest: names that differ in one digit must not give nearly the same vector.
    digest = np.frombuffer(sha256(text.encode()).digest(), np.uint8)
    vector = np.resize(digest.astype(np.float32) / 128 - 1, _DIMENSIONS)
    for _ in range(layers):
        vector = np.tanh(_weights @ vector)
    return orjson.dumps({"embedding": vector}, option=orjson.OPT_SERIALIZE_NUMPY)


async def serve_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one call, outcomes as they finish. If the caller goes away, its work ends."""
    tasks: dict[asyncio.Task[tuple[int, bytes]], int] = {}
    try:
        lines: list[str] = orjson.loads(await reader.readline())
        if hanging.takes():
            await reader.read()  # returns when the caller has gone
            return
        for index, line in enumerate(lines):
            tasks[asyncio.create_task(compute(line.encode()))] = index
        while tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            outcomes = [(tasks.pop(task), *_decoded(task.result())) for task in done]
            replica = f"chaos-{os.getpid()}"
            reply = {"replica": replica, "window_records": WINDOW_RECORDS, "outcomes": outcomes}
            _send(writer, reply)
            await writer.drain()
            await asyncio.sleep(_LINGER_S)
    except (OSError, orjson.JSONDecodeError):
        pass
    finally:
        for task in tasks:
            task.cancel()
        writer.close()


def _decoded(outcome: tuple[int, bytes]) -> tuple[int, str]:
    return outcome[0], outcome[1].decode()


def _send(writer: asyncio.StreamWriter, reply: dict[str, Any]) -> None:
    writer.write(orjson.dumps(reply) + b"\n")


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve_call, "127.0.0.1", port, limit=MAX_LINE_BYTES)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, hanging.begin)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
