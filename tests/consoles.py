"""A console over a service that is made up, for tests and pictures."""

import asyncio
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.types import ASGIApp

from handoff.clock import Clock, SystemClock
from headrace.console.access.attempts import Attempts
from headrace.console.access.sessions import Sessions
from headrace.console.access.token_source import TokenSource
from headrace.console.live.feed import Feed
from headrace.console.ports import LetterFilter, LetterPage, LetterRow, Replayed
from headrace.console.web.acting import Acting
from headrace.console.web.app import console_app
from headrace.console.web.guard import Door
from headrace.console.web.reading import Reading
from headrace.console.web.server import ConsoleServer
from headrace.errors import ServiceError
from headrace.overview.snapshot import Overview, PartitionOverview, Rates, RouteOverview
from headrace_client.registry.announcements import Action
from schemas.settings.console import ConsoleSettings
from tests.overviews import AT_MS, an_overview

READ_TOKEN = "reading-0123456789abcdef"
ACT_TOKEN = "acting-0123456789abcdef"
HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


class FakeService:
    """Moves a little with each overview, as a service does."""

    def __init__(self, overview: Overview | None = None, partitions: int = 12) -> None:
        self.overview_now = overview or an_overview()
        self.partition_count = partitions
        self.problem: str | None = None
        self.taken = 0

    async def overview(self) -> Overview:
        if self.problem is not None:
            raise ServiceError(self.problem)
        self.taken += 1
        return replace(self.overview_now, at_ms=AT_MS + 1_000 * self.taken)

    async def partitions(self, route: str) -> list[PartitionOverview]:
        return [
            PartitionOverview(
                partition=number,
                log_start=0,
                log_end=10_000 + number,
                committed=None if number % 50 == 49 else 9_000,
                left_records=(number * 7919) % 997,
                replica=f"{route}-a1b2c3" if number % 3 else None,
            )
            for number in range(self.partition_count)
        ]

    async def settings(self) -> dict[str, Any]:
        return {
            "kafka": {"bootstrap": "kafka-1:9092,kafka-2:9092"},
            "models": {"minilm": {"kind": "embedder", "source": "hub:org/minilm", "replicas": 3}},
            "routes": {"embed": {"model": "minilm", "requests_topic": "embed.requests"}},
            "console": {"port": 8270},
        }

    async def exposition(self) -> tuple[bytes, str]:
        return b"# TYPE ray_x gauge\nray_x 1.0\n", "text/plain; version=0.0.4"


def a_letter(number: int, **changes: Any) -> LetterRow:
    letter = LetterRow(
        place=f"embed.dead-letters/{number % 4}/{number}",
        source=f"embed.requests/{number % 12}/{40_000 + number}",
        route="embed",
        custom_id=f"doc-{4_711 + number}",
        error_code="invalid_json",
        error_message="the value is not JSON: unexpected end of data: line 1 column 212",
        attempts=0,
        failed_at_ms=AT_MS - 60_000 * number,
        replays=0,
        value_bytes=212 + 31 * number,
    )
    return replace(letter, **changes)


def some_letters() -> list[LetterRow]:
    failed = {
        "error_code": "retries_exhausted",
        "error_message": "given up after 5 attempts: the model failed: CUDA out of memory",
        "attempts": 5,
    }
    return [
        a_letter(1, route="summarise", **failed),
        a_letter(2, route="summarise", replays=1, **failed),
        *(a_letter(number) for number in range(3, 12)),
    ]


@dataclass
class FakeLetters:
    rows: Sequence[LetterRow] = field(default_factory=some_letters)
    replayed: list[LetterFilter] = field(default_factory=list)

    async def page(self, route: str | None, error_code: str | None) -> LetterPage:
        rows = [
            each
            for each in self.rows
            if route in (None, each.route) and error_code in (None, each.error_code)
        ]
        reasons = sorted({(each.route, each.error_code) for each in rows})
        counts = [
            (*each, sum((one.route, one.error_code) == each for one in rows)) for each in reasons
        ]
        return LetterPage(
            rows=rows, by_reason=counts, read_records=len(rows), unhandled_offsets=len(rows)
        )

    async def replay(self, chosen: LetterFilter) -> Replayed:
        self.replayed.append(chosen)
        return Replayed(replayed_records=len(chosen.places) or 2)


@dataclass
class FakeJobs:
    told: list[tuple[str, Action, str]] = field(default_factory=list)

    async def tell(self, job: str, action: Action, by: str) -> list[str]:
        self.told.append((job, action, by))
        return [f"its runner hears `{action}` within seconds"]


class FakeConsole:
    """The console's application over fakes."""

    def __init__(
        self,
        settings: ConsoleSettings | None = None,
        *,
        environment: dict[str, str] | None = None,
        clock: Clock | None = None,
        overview: Overview | None = None,
        partitions: int = 12,
    ) -> None:
        self.settings = settings or ConsoleSettings()
        clock = clock or SystemClock()
        self.service = FakeService(overview, partitions)
        self.letters = FakeLetters()
        self.jobs = FakeJobs()
        self.feed = Feed(self.service.overview, clock)
        reading = Reading(feed=self.feed, service=self.service, letters=self.letters, clock=clock)
        public = self.settings.public_url
        door = Door(
            tokens=TokenSource(self.settings, environment or {}),
            sessions=Sessions(lambda: secrets.token_urlsafe(32)),
            attempts=Attempts(),
            clock=clock,
            is_loopback=self.settings.is_loopback,
            public_host=None if public is None else public.partition("://")[2],
            is_secure=public is not None and public.startswith("https:"),
        )
        self.app: ASGIApp = console_app(
            feed=self.feed,
            service=self.service,
            reading=reading,
            acting=Acting(letters=self.letters, jobs=self.jobs),
            door=door,
        )


def with_tokens(**changes: Any) -> tuple[ConsoleSettings, dict[str, str]]:
    """Return settings with both tokens, and the environment that has them."""
    settings = ConsoleSettings(read_token_env="READ", act_token_env="ACT", **changes)
    return settings, {"READ": READ_TOKEN, "ACT": ACT_TOKEN}


def with_rate(route: RouteOverview, completed_records_per_s: float) -> RouteOverview:
    return replace(
        route,
        latest=Rates(
            window_s=10.0,
            received_records_per_s=completed_records_per_s,
            completed_records_per_s=completed_records_per_s,
            failed_records_per_s=0.0,
        ),
    )


@contextmanager
def served(console: FakeConsole, port: int = 0) -> Iterator[str]:
    """Serve a console from a thread, on a free port if none is named; yield its address."""
    settings = console.settings.model_copy(update={"port": port, "public_url": None})
    server = ConsoleServer(console.app, settings)
    loop = asyncio.new_event_loop()
    ready, stopping = threading.Event(), asyncio.Event()

    async def run() -> None:
        serving = asyncio.create_task(server.run())
        feeding = asyncio.create_task(console.feed.run())
        while server.problem is not None:
            await asyncio.sleep(0.01)
        ready.set()
        await stopping.wait()
        feeding.cancel()
        await server.stop(serving)

    def in_thread() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=in_thread, daemon=True)
    thread.start()
    assert ready.wait(30), server.problem
    try:
        yield server.url
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
