"""A front process: reads requests and writes answers for one replica, until that ends.

Run as ``python -m serve_models.text.front.worker FD``, where FD is one end of a socket pair.
"""

import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from serve_models.chunks.failures import Refusal
from serve_models.text.endpoints.base import Endpoints, TextRequest
from serve_models.text.front.frames import Field, PeerGoneError, receive_frame, send_frame
from serve_models.text.front.messages import (
    Do,
    Order,
    decode_lines,
    decode_rows,
    encode_bodies,
    encode_prepared,
)
from serve_models.text.front.model import front_endpoints
from serve_models.text.front.spec import FrontSpec


class FrontDesk:
    """Answers the orders of a replica, one frame for each."""

    def __init__(self) -> None:
        self._endpoints: Endpoints | None = None
        self._requests: dict[int, TextRequest[Any]] = {}
        self._next_number = 0

    @property
    def held_requests(self) -> int:
        return len(self._requests)

    def answer(self, fields: Sequence[memoryview]) -> list[Field]:
        order = Order.decode(fields[0])
        for number in order.dropped:
            self._requests.pop(number, None)
        match order.do:
            case Do.USE:
                self._endpoints = front_endpoints(FrontSpec.from_json(fields[1]))
                return [b""]
            case Do.PREPARE:
                return self._prepare(decode_lines(fields), order.max_body_bytes)
            case Do.RESPOND:
                return self._respond(fields)

    def _prepare(self, lines: list[bytes], max_body_bytes: int) -> list[Field]:
        if self._endpoints is None:
            raise ValueError("an order to prepare came before the spec")
        prepared = self._endpoints.prepare(lines, max_body_bytes)
        fields = encode_prepared(
            [each if isinstance(each, Refusal) else each.texts for each in prepared]
        )
        for request in prepared:
            if isinstance(request, Refusal):
                continue
            for text in request.texts:
                # The replica has them now.
                text.ids = text.type_ids = ()
            self._requests[self._next_number] = request
            self._next_number += 1
        return fields

    def _respond(self, fields: Sequence[memoryview]) -> list[Field]:
        if self._endpoints is None:
            raise ValueError("an order to respond came before the spec")
        numbers, rows = decode_rows(fields)
        requests = [self._requests.pop(number) for number in numbers]
        start = 0
        for request in requests:
            for position in range(len(request.texts)):
                request.place(position, rows[start + position])
            start += len(request.texts)
        return encode_bodies(self._endpoints.respond(requests))


def serve(connection: socket.socket) -> None:
    """Answer orders until the other end is closed."""
    desk = FrontDesk()
    while True:
        try:
            order = receive_frame(connection)
        except PeerGoneError:
            return
        try:
            send_frame(connection, desk.answer(order))
        except PeerGoneError:
            return


def main() -> None:
    """Serve the socket whose number is the first argument."""
    # Ctrl-C goes to the whole group; the replica decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        serve(connection)


if __name__ == "__main__":
    main()
