"""Keeps dead letters and jobs to the routes that run, which change while the console runs."""

from collections.abc import Mapping
from typing import Any

from handoff.clock import Clock
from headrace.console.live.fresh import Fresh
from headrace.console.ports import LetterFilter, LetterPage, Replayed
from headrace.console.sources.jobs import KafkaJobs
from headrace.console.sources.letters import KafkaLetters, letter_topics
from headrace.console.sources.ray_service import RayService
from headrace.errors import ServiceError
from headrace.service.applications import kind_of
from headrace.service.changes import RunningApplication
from headrace_client.registry.announcements import Action
from headrace_client.routes import Route

LOOK_EVERY_S = 5.0


class RunningRoutes:
    """Dead letters and jobs, asked for by whom the routes' settings concern.

    Raises ``ServiceError`` where nobody says which routes run, else as those it asks.
    """

    def __init__(
        self, service: RayService, letters: KafkaLetters, jobs: KafkaJobs, clock: Clock
    ) -> None:
        self._service = service
        self._letters = letters
        self._jobs = jobs
        self._applications: Fresh[Mapping[str, RunningApplication]] = Fresh(
            clock, age_s=LOOK_EVERY_S, most=1
        )

    async def page(self, route: str | None, error_code: str | None) -> LetterPage:
        await self._look()
        return await self._letters.page(route, error_code)

    async def replay(self, chosen: LetterFilter) -> Replayed:
        routes = await self._look()
        if chosen.route is not None and chosen.route not in routes:
            raise ServiceError(f"no route {chosen.route!r} runs; there are {', '.join(routes)}")
        return await self._letters.replay(chosen)

    async def tell(self, job: str, action: Action, by: str) -> list[str]:
        await self._look()
        return await self._jobs.tell(job, action, by)

    async def _look(self) -> Mapping[str, Mapping[str, Any]]:
        running = await self._applications.get("", self._service.applications)
        routes: dict[str, Mapping[str, Any]] = {
            str(each.built["route"]): each.built["settings"]
            for name, each in running.items()
            if kind_of(name) == "route"
        }
        self._letters.topics = letter_topics(
            {
                name: (each["dead_letters_topic"], each["requests_topic"])
                for name, each in routes.items()
            }
        )
        self._jobs.set_routes(
            {
                name: Route(
                    name=name,
                    requests_topic=each["requests_topic"],
                    results_topic=each["results_topic"],
                    dead_letters_topic=each["dead_letters_topic"],
                    control_topic=each.get("control_topic"),
                )
                for name, each in routes.items()
            }
        )
        return routes
