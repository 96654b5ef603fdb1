"""Bounds on connections: a request comes within a time, and who is silent makes room.

uvicorn has neither: silent connections stay for ever and count as busy, so that some two hundred
of them, which need no token, would keep everybody out.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_WITHIN_S = 20.0
"""From a connection, or a request's first byte on one that is kept, to the end of its body."""


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 with a deadline for requests.

    Where there are as many connections as ``limit_concurrency``, the one that has been without a
    whole request for longest is closed.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self.waits_since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.waits_since_s = self.loop.time()
        self._look()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_deadline()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        self.waits_since_s = self.loop.time()
        self._unset_deadline()
        # A request may stand behind this one already, and begin in here.
        super().on_response_complete()
        if not self._is_kept:
            self._look()

    def timeout_keep_alive_handler(self) -> None:
        # Closing waits until what was sent is read, which may be never.
        self.transport.abort()

    @property
    def waits_for_request(self) -> bool:
        """Whether a request has not begun, or has not come to its end."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    @property
    def _is_kept(self) -> bool:
        """Whether nothing has come since the last response; the pause has a time of its own."""
        is_empty = not self.conn.trailing_data[0]
        return self.conn.their_state is h11.IDLE and is_empty and self.cycle is not None

    def _look(self) -> None:
        if not self.waits_for_request:
            self._unset_deadline()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(REQUEST_WITHIN_S, self.transport.abort)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _make_room(self) -> None:
        others: set[BoundedProtocol] = {
            each
            for each in self.connections
            if isinstance(each, BoundedProtocol)
            and each is not self
            and each.waits_for_request
            and not each.transport.is_closing()
        }
        if others:
            min(others, key=lambda each: each.waits_since_s).transport.abort()
