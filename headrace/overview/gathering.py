"""Gathers the facts of an overview, for all who ask within a moment only once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from consumer.ports import Lag as PartitionOffsets
from consumer.ports import SourceError, TopicPartition
from handoff.clock import Clock
from headrace.errors import ServiceError
from headrace.overview.assembly import assemble, lag_of, partitions_of
from headrace.overview.facts import ConsumerFacts, Facts
from headrace.overview.known import KnownRoute, KnownService
from headrace.overview.serve_facts import ServeFacts
from headrace.overview.snapshot import Lag, Overview, PartitionOverview
from headrace.status.partition_lag import PartitionLag, partition_lags
from headrace_client.registry.standing import JobStanding

FRESH_S = 1.0
SLOWLY_FRESH_S = 2.0
"""Lags cost the brokers some requests for each route, and details cost Serve's controller."""
LAG_TIMEOUT_S = 5.0
SERVE_TIMEOUT_S = 3.0
PAUSES_TIMEOUT_S = 3.0
SLOWLY_WITHIN_S = 6.0
"""Serve's details and all lags: less than those wait who ask for an overview."""
LAG_KEPT_S = 60.0
"""How long the lag of a route counts whose turn has not come again."""
MOST_AT_ONCE = 8
"""Routes whose lag is read at the same time."""


class LagReading(Protocol):
    """Reads lags; ``consumer.kafka.admin.group_lags.GroupLags`` does."""

    async def read(
        self, group: str, topic: str, timeout_s: float = LAG_TIMEOUT_S
    ) -> dict[TopicPartition, PartitionOffsets]:
        """Return a group's lag in a topic; raises ``SourceError``."""
        ...


class Gathering:
    """Makes overviews.

    Attributes:
        jobs_topic: The registry of jobs; ``None``: jobs are left out.

    Args:
        known: Routes and models, as long as Serve does not say which are deployed.
        lags: As above.
        ask_serve: Asks Serve, and may block; raises ``ServiceError``.
        ask_jobs: Returns the jobs of the registry, or raises ``SourceError``.
        ask_consumers: Returns what the consumers said; ``None`` without a service.
        ask_paused: Returns why routes are paused, by route.
        no_service: Why there is none, where none can be asked.
    """

    def __init__(
        self,
        known: KnownService,
        *,
        clock: Clock,
        lags: LagReading,
        ask_serve: Callable[[], ServeFacts] | None,
        ask_jobs: Callable[[], Awaitable[Sequence[JobStanding]]],
        ask_consumers: Callable[[], ConsumerFacts | None],
        ask_paused: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
        no_service: str = "",
    ) -> None:
        self.jobs_topic = known.jobs_topic
        self._known = known
        self._clock = clock
        self._lags = lags
        self._ask_serve = ask_serve
        self._ask_jobs = ask_jobs
        self._ask_consumers = ask_consumers
        self._ask_paused = ask_paused
        self._no_service = no_service
        self._taking = asyncio.Lock()
        self._overview: Overview | None = None
        self._taken_at_s = 0.0
        self._slow: tuple[_Answer, _Lags] | None = None
        self._slow_until_s = 0.0
        self._lags_read: dict[str, tuple[float, Lag | None]] = {}
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def overview(self) -> Overview:
        """Return an overview that is at most a second old; what does not answer is missing."""
        async with self._taking:
            now_s = self._clock.monotonic()
            if self._overview is None or now_s >= self._taken_at_s + FRESH_S:
                self._overview = await self._take()
                # From here: a slow overview must not be followed by another one at once.
                self._taken_at_s = self._clock.monotonic()
            return self._overview

    async def partitions(self, route_name: str) -> list[PartitionOverview]:
        """Return one route's partitions; raises ``SourceError``, ``KeyError`` without the route."""
        route = next((each for each in self._known.routes if each.name == route_name), None)
        if route is None:
            raise KeyError(route_name)
        consumers = self._ask_consumers()
        live = () if consumers is None else consumers.live.get(route_name, ())
        return partitions_of(await self._partitions(route), live)

    async def _take(self) -> Overview:
        (serve, lags), jobs, paused = await asyncio.gather(
            self._ask_slowly(), self._jobs(), self._paused()
        )
        unanswered = [each for each in (*lags.problems, serve.problem, jobs[1]) if each]
        facts = serve.facts or ServeFacts()
        return assemble(
            Facts(
                at_ms=self._clock.epoch_ms(),
                known=self._known,
                consumers=self._ask_consumers(),
                deployments=None if serve.facts is None else facts.deployments,
                decisions=facts.decisions,
                runs_on=facts.runs_on,
                lags=lags.found,
                jobs=jobs[0],
                paused=paused,
                no_service=self._no_service,
                unanswered=unanswered,
            )
        )

    async def _ask_slowly(self) -> "tuple[_Answer, _Lags]":
        began_s = self._clock.monotonic()
        if self._slow is None or began_s >= self._slow_until_s:
            serve, lags = _Answer(), _Lags()
            try:
                async with asyncio.timeout(SLOWLY_WITHIN_S):
                    serve = await self._serve()
                    if serve.facts is not None:
                        self._known = serve.facts.known
                    await self._read_lags(lags)
            except TimeoutError:
                self._keep_unread(lags)
            now_s = self._clock.monotonic()
            # What takes long is asked for half of the time at most.
            self._slow_until_s = now_s + max(SLOWLY_FRESH_S, now_s - began_s)
            self._slow = serve, lags
        return self._slow

    async def _read_lags(self, into: "_Lags") -> None:
        # Those whose turn did not come the last time are the first now.
        routes = sorted(
            self._known.routes, key=lambda each: self._lags_read.get(each.name, (0.0, None))[0]
        )
        names = {each.name for each in routes}
        self._lags_read = {key: each for key, each in self._lags_read.items() if key in names}
        await asyncio.gather(*(self._read_lag(each, into) for each in routes))

    def _keep_unread(self, lags: "_Lags") -> None:
        """Say which routes' turn has not come; what was read of them lately still counts."""
        now_s = self._clock.monotonic()
        names = [each.name for each in self._known.routes]
        unread = [name for name in names if name not in lags.found and name not in lags.failed]
        for name in unread:
            read_at_s, lag = self._lags_read.get(name, (float("-inf"), None))
            if now_s - read_at_s <= LAG_KEPT_S:
                lags.found[name] = lag
        if unread:
            lags.problems.append(
                f"lags: {len(unread)} of {len(names)} routes not read within "
                f"{SLOWLY_WITHIN_S:g} s: the brokers answer slowly, or not at all"
            )

    async def _serve(self) -> "_Answer":
        if self._ask_serve is None:
            return _Answer()
        try:
            async with asyncio.timeout(SERVE_TIMEOUT_S):
                return _Answer(await asyncio.to_thread(self._ask_serve))
        except TimeoutError:
            return _Answer(problem=f"Serve: no answer within {SERVE_TIMEOUT_S:g} s")
        except ServiceError as error:
            return _Answer(problem=f"Serve: {error}")

    async def _jobs(self) -> tuple[Sequence[JobStanding] | None, str]:
        if self.jobs_topic is None:
            return None, ""
        try:
            return await self._ask_jobs(), ""
        except SourceError as error:
            return None, f"jobs: {error}"

    async def _paused(self) -> Mapping[str, str]:
        if self._ask_paused is None:
            return {}
        try:
            async with asyncio.timeout(PAUSES_TIMEOUT_S):
                return await self._ask_paused()
        except TimeoutError:
            return {}

    async def _read_lag(self, route: KnownRoute, into: "_Lags") -> None:
        try:
            async with self._slots:
                lag = into.found[route.name] = lag_of(await self._partitions(route))
                self._lags_read[route.name] = self._clock.monotonic(), lag
        except SourceError as error:
            into.failed.add(route.name)
            # One unreachable cluster is one problem, and not one for each route.
            if str(error) not in into.problems:
                into.problems.append(str(error))

    async def _partitions(self, route: KnownRoute) -> list[PartitionLag]:
        offsets = await self._lags.read(route.group, route.requests_topic, LAG_TIMEOUT_S)
        # Thousands of partitions take long enough to hold up reports.
        return await asyncio.to_thread(
            partial(partition_lags, offsets, from_latest=route.start_from == "latest")
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    facts: ServeFacts | None = None
    problem: str = ""


class _Lags:
    def __init__(self) -> None:
        self.found: dict[str, Lag | None] = {}
        self.failed: set[str] = set()
        self.problems: list[str] = []
