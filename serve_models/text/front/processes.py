"""Reads requests and writes answers in processes beside the replica's own.

Of a small encoder on a GPU, a text costs the device a few microseconds, and Python fifty for JSON,
checks, tokenization and base64: one process cannot keep the device busy.
"""

import os
import socket
import subprocess
import sys
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from threading import Lock
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from serve_models.batching.work import RequestReader
from serve_models.chunks.chunk_server import ReplicaLostError
from serve_models.chunks.failures import Refusal
from serve_models.text.front.frames import Field, PeerGoneError, receive_frame, send_frame
from serve_models.text.front.messages import (
    Do,
    Order,
    decode_bodies,
    decode_prepared,
    encode_lines,
    encode_rows,
)
from serve_models.text.front.spec import FrontSpec
from serve_models.text.models.tokenizing import TokenizedText

_MODULE = "serve_models.text.front.worker"
_STARTS_WITHIN_S = 120.0
_ENDS_WITHIN_S = 5.0


class FrontProcesses:
    """A ``RequestReader`` that shares its work among processes; several threads may call it.

    A request stays with the process that read it. One that ends takes its requests with it:
    ``ReplicaLostError``.

    Args:
        spec: What the processes read requests by.
        processes: How many, 1 or more.
        reader: Measures lines in this process.
    """

    def __init__(self, spec: FrontSpec, processes: int, reader: RequestReader) -> None:
        self._reader = reader
        self._choosing = Lock()
        self._desks: list[_Desk] = []
        content = self._content = spec.to_json()
        with ExitStack() as undo:
            # They start side by side: each takes a second to import what it needs.
            for _ in range(processes):
                desk = _Desk(content)
                undo.callback(desk.close)
                self._desks.append(desk)
            for desk in self._desks:
                desk.wait_ready()
            self._stack = undo.pop_all()

    def use(self, spec: FrontSpec, reader: RequestReader) -> None:
        """Read lines by another spec from now on; requests that were read keep the old one."""
        self._reader = reader
        content = spec.to_json()
        if content == self._content:
            # Serve hands over the live settings right after the start, and tokenizers are large.
            return
        self._content = content
        for desk in self._desks:
            desk.new_spec = content

    def close(self) -> None:
        self._stack.close()

    @property
    def processes(self) -> int:
        return len(self._desks)

    def characters(self, line: bytes) -> int:
        return self._reader.characters(line)

    def prepare(
        self, lines: Sequence[bytes], max_body_bytes: int = 0
    ) -> list["_RemoteRequest | Refusal"]:
        desk = self._least_busy()
        try:
            with desk:
                order = Order(Do.PREPARE, desk.take_dropped(), max_body_bytes)
                desk.send(encode_lines(order, lines))
                return list(desk.requests(desk.receive()))
        finally:
            with self._choosing:
                desk.waiting -= 1

    def respond(self, requests: Sequence["_RemoteRequest"]) -> list[bytes | Refusal]:
        places: defaultdict[_Desk, list[int]] = defaultdict(list)
        for place, request in enumerate(requests):
            places[request.desk].append(place)
        # In one order, so that two threads do not wait for each other.
        desks = sorted(places, key=lambda desk: desk.pid)
        bodies: list[bytes | Refusal] = [b""] * len(requests)
        with ExitStack() as held:
            for desk in desks:
                held.enter_context(desk)
                some = [requests[place] for place in places[desk]]
                rows = [row for request in some for row in request.rows]
                order = Order(Do.RESPOND, desk.take_dropped())
                numbers = [request.hand_over() for request in some]
                desk.send(encode_rows(order, numbers, rows))
            for desk in desks:
                for place, body in zip(places[desk], decode_bodies(desk.receive()), strict=True):
                    bodies[place] = body
        return bodies

    def _least_busy(self) -> "_Desk":
        with self._choosing:
            desk = min(self._desks, key=lambda each: each.waiting)
            desk.waiting += 1
        return desk


class _RemoteRequest:
    """A request that a front process holds (``batching.work.Request``)."""

    __slots__ = ("_missing", "_number", "desk", "rows", "texts")

    def __init__(self, desk: "_Desk", number: int, texts: list[TokenizedText]) -> None:
        self.desk = desk
        self.texts = texts
        self.rows: list[NDArray[np.float32]] = [_NO_ROW] * len(texts)
        self._missing = len(texts)
        self._number: int | None = number

    def place(self, position: int, row: NDArray[np.float32]) -> bool:
        self.rows[position] = row
        self._missing -= 1
        return self._missing == 0

    def hand_over(self) -> int:
        """Return its number, for the answer; the process then forgets it."""
        if self._number is None:
            raise ValueError("a request is answered once")
        number, self._number = self._number, None
        return number

    def __del__(self) -> None:
        if self._number is not None:
            self.desk.dropped.append(self._number)


_NO_ROW: NDArray[np.float32] = np.empty(0, np.float32)


class _Desk:
    """One front process and the connection to it; entered by whoever speaks with it.

    Raises ``ReplicaLostError`` if the process is gone.

    Attributes:
        waiting: Threads that want it to prepare lines.
        dropped: Numbers of requests to forget.
        new_spec: A spec that it does not know yet.
    """

    def __init__(self, spec: bytes) -> None:
        self.waiting = 0
        self.dropped: deque[int] = deque()
        self.new_spec: bytes | None = spec
        self._next_number = 0
        self._replies_owed = 0
        self._speaking = Lock()
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", _MODULE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    # Ray puts folders on the path that the environment does not name.
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                    "RAYON_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                },
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        self._speaking.acquire()
        if self._replies_owed:
            # Whoever asked has failed meanwhile: the next reply would be taken for another one.
            self._speaking.release()
            raise ReplicaLostError(f"front process {self.pid} is out of step")
        return self

    def __exit__(self, *_raised: object) -> None:
        self._speaking.release()

    def wait_ready(self) -> None:
        self._connection.settimeout(_STARTS_WITHIN_S)
        with self:
            self._tell_spec()
        self._connection.settimeout(None)

    def take_dropped(self) -> list[int]:
        taken = []
        while self.dropped:
            taken.append(self.dropped.popleft())
        return taken

    def send(self, fields: Sequence[Field]) -> None:
        self._tell_spec()
        self._send(fields)

    def receive(self) -> list[memoryview]:
        try:
            received = receive_frame(self._connection)
        except PeerGoneError as error:
            raise self._lost() from error
        self._replies_owed -= 1
        return received

    def requests(self, fields: Sequence[memoryview]) -> Iterator["_RemoteRequest | Refusal"]:
        for texts in decode_prepared(fields):
            if isinstance(texts, Refusal):
                yield texts
            else:
                yield _RemoteRequest(self, self._next_number, texts)
                self._next_number += 1

    def close(self) -> None:
        # It ends when its connection does.
        self._connection.close()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell_spec(self) -> None:
        spec = self.new_spec
        if spec is None:
            return
        self._send([Order(Do.USE).encode(), spec])
        self.receive()
        if self.new_spec is spec:
            self.new_spec = None

    def _send(self, fields: Sequence[Field]) -> None:
        self._replies_owed += 1
        try:
            send_frame(self._connection, fields)
        except PeerGoneError as error:
            raise self._lost() from error

    def _lost(self) -> ReplicaLostError:
        status: Any = self._process.poll()
        how = "does not answer" if status is None else f"ended with status {status}"
        return ReplicaLostError(f"front process {self.pid} {how}")
