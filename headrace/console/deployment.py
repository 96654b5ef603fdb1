"""The Serve deployment of the console.

Serve's own HTTP proxy has one address for all applications, and a service of topics runs none. So
the console binds its own address, in the process of its one replica, on the node of Ray's head.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from consumer.kafka.source.unpacking import Unpacking
from handoff.clock import SystemClock
from handoff.logs import log_through_serve, look_after_logs
from headrace.console.access.attempts import Attempts
from headrace.console.access.sessions import Sessions
from headrace.console.access.token_source import TokenSource
from headrace.console.live.feed import Feed
from headrace.console.sources.jobs import KafkaJobs
from headrace.console.sources.letters import MOST_BATCH_BYTES, KafkaLetters
from headrace.console.sources.ray_service import RayService
from headrace.console.sources.routes import RunningRoutes
from headrace.console.web.acting import Acting
from headrace.console.web.app import console_app
from headrace.console.web.guard import Door
from headrace.console.web.reading import Reading
from headrace.console.web.server import ConsoleServer
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings
from schemas.settings.secrets import secret_values


class Console:
    """The one replica of the console.

    Args:
        console: Its settings; tokens are read where it runs.
        kafka: The service's cluster, for dead letters and jobs.
        jobs_topic: The registry of jobs.
        status: Handle of the status board.
        results: The cluster of dead letters, if it is another one.
    """

    def __init__(
        self,
        *,
        console: ConsoleSettings,
        kafka: KafkaSettings,
        jobs_topic: str,
        status: Any,
        results: KafkaSettings | None = None,
    ) -> None:
        log_through_serve(
            secret
            for each in (kafka, results)
            if each is not None
            for secret in secret_values(each, os.environ)
        )
        # Of whatever is read here: a process that serves a page must not end by what others send.
        Unpacking(MOST_BATCH_BYTES).install()
        clock = SystemClock()
        tokens = TokenSource(console)
        clusters = {"kafka": kafka} | ({} if results is None else {"results_kafka": results})
        service = RayService(status, clusters, console)
        letters = KafkaLetters(results or kafka, clock, None if results is None else kafka)
        jobs = KafkaJobs(kafka, jobs_topic)
        routes = RunningRoutes(service, letters, jobs, clock)
        self._feed = Feed(service.overview, clock)
        reading = Reading(feed=self._feed, service=service, letters=routes, clock=clock)
        acting = Acting(letters=routes, jobs=routes)
        door = Door(
            tokens=tokens,
            sessions=Sessions(lambda: secrets.token_urlsafe(32)),
            attempts=Attempts(),
            clock=clock,
            is_loopback=console.is_loopback,
            public_host=_host_of(console.public_url),
            is_secure=console.tls is not None or (console.public_url or "").startswith("https:"),
        )

        def may_bind() -> str | None:
            tokens.read()
            return None if not tokens.problems else "; ".join(tokens.problems)

        app = console_app(
            feed=self._feed, service=service, reading=reading, acting=acting, door=door
        )
        self._server = ConsoleServer(app, console, may_bind)
        self._tasks: list[asyncio.Task[None]] = []

    async def reconfigure(self, _user_config: Mapping[str, Any]) -> None:
        """Start; Serve calls it once at least."""
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self._server.run()),
                loop.create_task(self._feed.run()),
            ]

    async def standing(self) -> dict[str, Any]:
        """Return ``url``, and ``problem``: why nothing is served there, or ``None``."""
        return {"url": self._server.url, "problem": self._server.problem}

    async def check_health(self) -> None:
        """Raise if one of its tasks has ended; Serve then replaces this replica."""
        look_after_logs()
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def __del__(self) -> None:
        """Close; Serve awaits this when it stops the replica."""
        if self._tasks:
            serving, feeding = self._tasks
            feeding.cancel()
            await self._server.stop(serving)
            with contextlib.suppress(asyncio.CancelledError):
                await feeding


def _host_of(url: str | None) -> str | None:
    return None if url is None else urlsplit(url).netloc
