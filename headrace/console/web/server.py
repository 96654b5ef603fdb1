"""Serves the console on a port of its own, and waits for the port where another has it."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator

import uvicorn
from starlette.types import ASGIApp

from headrace.console.live.feed import MOST_LISTENERS
from headrace.console.web.connections import BoundedProtocol
from schemas.settings.console import ConsoleSettings

log = logging.getLogger(__name__)

TRY_AGAIN_S = 2.0
STOP_WITHIN_S = 2
MOST_CONNECTIONS = MOST_LISTENERS + 64
MOST_HEAD_BYTES = 16 * 1024
_KEEP_ALIVE_S = 30
_BACKLOG = 128


class _Server(uvicorn.Server):
    """uvicorn's server in a process that is not its own: signals are the process's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class ConsoleServer:
    """Serves ``app`` until ``stop``; nothing of the service waits for it.

    ``may_bind`` returns why nobody may be let in yet, as where a token is missing, or ``None``.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ConsoleSettings,
        may_bind: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._app = app
        self._settings = settings
        self._may_bind = may_bind
        self._server: uvicorn.Server | None = None
        self.port = 0
        self.problem: str | None = "it is starting"

    async def run(self) -> None:
        """Serve; where that is not possible, ``problem`` says why, and it is tried again."""
        while True:
            server, listening = self._open()
            if server is not None and listening is not None:
                self._server, self.problem = server, None
                with listening:
                    self.port = listening.getsockname()[1]
                    log.info("the console is at %s", self.url, extra={"event": "console_open"})
                    await server.serve(sockets=[listening])
                if server.should_exit:
                    return
                self.problem = "its server has ended; it starts again"
            await asyncio.sleep(TRY_AGAIN_S)

    async def stop(self, running: asyncio.Task[None]) -> None:
        """End what ``run`` does, and the connections with it."""
        if self._server is not None:
            self._server.should_exit = True
            await asyncio.wait([running], timeout=STOP_WITHIN_S + 1)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    @property
    def url(self) -> str:
        """Where it is, with the port that it has."""
        return self._settings.model_copy(update={"port": self.port or self._settings.port}).url

    def _open(self) -> tuple[uvicorn.Server | None, socket.socket | None]:
        """Return a server and its socket, or note the problem."""
        problem, server, listening = self._may_bind(), None, None
        if problem is None:
            try:
                server = _Server(self._config())
                server.config.load()
                listening = self._bound()
            except (OSError, ValueError) as error:
                problem = self._explained(error)
        if problem is not None and problem != self.problem:
            log.warning("the console is not open: %s", problem, extra={"event": "console_not_open"})
        self.problem = problem
        return server, listening

    def _bound(self) -> socket.socket:
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server(
            (settings.host, settings.port), family=family, backlog=_BACKLOG, reuse_port=False
        )

    def _config(self) -> uvicorn.Config:
        tls = self._settings.tls
        return uvicorn.Config(
            self._app,
            # Of h11: its own limit on a request's head; the other parser has none.
            http=BoundedProtocol,
            h11_max_incomplete_event_size=MOST_HEAD_BYTES,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_WITHIN_S,
            ssl_certfile=None if tls is None else tls.cert_file,
            ssl_keyfile=None if tls is None else tls.key_file,
        )

    def _explained(self, error: Exception) -> str:
        place = f"{self._settings.host}:{self._settings.port}"
        if isinstance(error, OSError) and error.errno == 98:
            return f"another program has {place}: end that one, or set console.port"
        return f"{place} cannot be served: {error}"
