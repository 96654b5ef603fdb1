"""``headrace bulk`` with topics in its own memory, for what it takes itself: memory and CPU.

No broker, and a service that answers a request when its result is read, so that nothing piles up
in the stand-in. Run as a program: its arguments are those of ``headrace bulk``, and its last line
is the largest resident set in KiB.
"""

import asyncio
import base64
import os
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from unittest import mock

import numpy as np
import orjson

from headrace_client.bulk.job import round_runner
from headrace_client.cli.main import main
from headrace_client.kafka.reading import LogRange, TopicRecord
from headrace_client.wire.names import Headers, Place

DIMENSIONS = int(os.environ.get("DIMENSIONS", "384"))
LATE_EVERY = int(os.environ.get("LATE_EVERY", "0"))
"""Every so many requests one is answered late, as if its replica were slow; 0 for none."""
LATE_BY = int(os.environ.get("LATE_BY", "0"))
"""How many others are answered before it."""

_VECTOR = base64.b64encode(np.linspace(-1, 1, DIMENSIONS, dtype="<f4").tobytes())
_START = b'{"object":"embedding","index":'
_ITEM = b',"embedding":"' + _VECTOR + b'"}'


class Topics:
    """Requests that were published and not answered."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[str, int]] = deque()
        self.late: deque[tuple[int, str, int]] = deque()
        self.published = 0
        self.answered = 0
        self.is_idle = False
        """Nothing has come for a while: the window is full."""
        self.arrived = asyncio.Event()

    def take(self) -> tuple[str, int] | None:
        if self.late and (self.answered >= self.late[0][0] or self.is_idle):
            self.is_idle = False
            _, custom_id, inputs = self.late.popleft()
            return custom_id, inputs
        return self.waiting.popleft() if self.waiting else None


TOPICS = Topics()


class Publisher:
    def __init__(self, *_arguments: Any) -> None: ...

    async def start(self) -> None: ...

    async def flush(self) -> None: ...

    async def close(self) -> None: ...

    def publish(self, value: bytes, *, headers: Headers) -> asyncio.Future[Place]:
        line = orjson.loads(value)
        name, inputs = line["custom_id"], len(line["body"]["input"])
        number = TOPICS.published
        TOPICS.published += 1
        if LATE_EVERY and number % LATE_EVERY == 0:
            TOPICS.late.append((TOPICS.answered + LATE_BY, name, inputs))
        else:
            TOPICS.waiting.append((name, inputs))
        TOPICS.arrived.set()
        future = asyncio.get_running_loop().create_future()
        future.get_loop().call_soon(future.set_result, Place("requests", 0, number))
        return future


class Reader:
    """As ``TopicReader``; results are made when they are read."""

    topic = "in-memory"
    topic_id = "in-memory"
    breaks = 0

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        self.positions: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None: ...

    async def bounds(self) -> dict[int, LogRange]:
        return {0: LogRange(0, 0)}

    async def assign_ends(self) -> dict[int, int]:
        self.positions = {0: 0}
        return {0: 0}

    async def read(self, timeout_s: float, max_records: int) -> list[TopicRecord]:
        records: list[TopicRecord] = []
        while len(records) < max_records and (waiting := TOPICS.take()) is not None:
            records.append(TopicRecord(0, TOPICS.answered, None, _result(*waiting), (), 0))
            TOPICS.answered += 1
        self.positions[0] = TOPICS.answered
        if not records:
            TOPICS.arrived.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await TOPICS.arrived.wait()
            except TimeoutError:
                TOPICS.is_idle = True
        else:
            await asyncio.sleep(0)
        return records


class Announcements:
    def __init__(self, *_arguments: Any) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None: ...

    def __call__(self, _report: Any) -> Sequence[str]:
        return ()


def _result(custom_id: str, inputs: int) -> bytes:
    items = b",".join(b"%s%d%s" % (_START, index, _ITEM) for index in range(inputs))
    return (
        b'{"id":"requests-0-1","custom_id":%s,"response":{"status_code":200,"request_id":"1",'
        b'"body":{"object":"list","data":[%s],"model":"stand-in",'
        b'"usage":{"prompt_tokens":%d,"total_tokens":%d}}},"error":null}'
    ) % (orjson.dumps(custom_id), items, inputs, inputs)


def _peak_kib() -> int:
    # That of `getrusage` may be of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    try:
        with mock.patch.multiple(
            round_runner,
            RequestPublisher=Publisher,
            TopicReader=Reader,
            Announcements=Announcements,
        ):
            main(["bulk", *sys.argv[1:]])
    finally:
        sys.stdout.write(f"{_peak_kib()}\n")
