"""One bound on all of an HTTP request: connection, TLS, head and body.

A socket's timeout holds for each wait. A server that sends a byte now and then never exceeds it.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from types import TracebackType
from typing import Any, Self
from urllib.request import HTTPHandler, HTTPSHandler, Request


class AnsweringTime:
    """Ends the connections of a request ``within_s`` after it began; a context manager.

    Whoever waits for one then finds it closed, and ``is_over``.
    """

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self.is_over = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(within_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()

    def watch(self, connected: socket.socket) -> None:
        # TLS takes the socket's descriptor over; another one of the same connection stays ours.
        with self._lock:
            self._sockets.append(connected.dup())
            if self.is_over:
                self._shut_down()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            self._shut_down()

    def _shut_down(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class WatchedHttp(HTTPHandler):
    """Opens http connections that end in time."""

    def __init__(self, time: AnsweringTime) -> None:
        super().__init__()
        self._time = time

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_watched(HTTPConnection, self._time), req)


class WatchedHttps(HTTPSHandler):
    """Opens https connections that end in time."""

    def __init__(self, time: AnsweringTime, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._time = time
        self._verifying = context

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_watched(HTTPSConnection, self._time), req, context=self._verifying)


def _watched(kind: type[HTTPConnection], time: AnsweringTime) -> Callable[..., HTTPConnection]:
    def make(*arguments: Any, **options: Any) -> HTTPConnection:
        connection: Any = kind(*arguments, **options)
        create = connection._create_connection  # noqa: SLF001 - nothing public is before the handshake

        def create_watched(*address: Any, **how: Any) -> socket.socket:
            connected: socket.socket = create(*address, **how)
            time.watch(connected)
            return connected

        connection._create_connection = create_watched  # noqa: SLF001 - see above
        made: HTTPConnection = connection
        return made

    return make
