"""What is read: the overview, a route, dead letters, jobs, settings."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from handoff.clock import Clock
from headrace.console.live.feed import Feed
from headrace.console.live.fresh import Fresh
from headrace.console.ports import Letters, Service
from headrace.console.web.bodies import Json
from headrace.overview.snapshot import PartitionOverview

MOST_NAME_CHARACTERS = 250


class Reading:
    """Answers reads; many who ask the same in one moment cost as much as one."""

    def __init__(self, *, feed: Feed, service: Service, letters: Letters, clock: Clock) -> None:
        self._feed = feed
        self._service = service
        self._letters = letters
        self._partitions: Fresh[list[PartitionOverview]] = Fresh(clock, age_s=1.0, most=64)
        self._settings: Fresh[dict[str, Any]] = Fresh(clock, age_s=5.0, most=1)

    async def overview(self, _request: Request) -> Response:
        return Json((await self._feed.overview()).to_dict())

    async def route(self, request: Request) -> Response:
        name = request.path_params["name"]
        overview = await self._feed.overview()
        found = overview.route(name)
        if found is None:
            known = ", ".join(each.name for each in overview.routes[:20])
            raise HTTPException(404, f"there is no route {name[:100]!r}; there are {known}")
        partitions = await self._partitions.get(name, lambda: self._service.partitions(name))
        [route] = [each for each in overview.to_dict()["routes"] if each["name"] == name]
        return Json({"at_ms": overview.at_ms, "route": route, "partitions": columns(partitions)})

    async def dead_letters(self, request: Request) -> Response:
        route, error_code = parameter(request, "route"), parameter(request, "error_code")
        return Json(asdict(await self._letters.page(route, error_code)))

    async def jobs(self, _request: Request) -> Response:
        overview = await self._feed.overview()
        return Json({"at_ms": overview.at_ms, "jobs": overview.to_dict()["jobs"]})

    async def settings(self, _request: Request) -> Response:
        return Json(await self._settings.get("settings", self._service.settings))


def columns(partitions: Sequence[PartitionOverview]) -> dict[str, list[Any]]:
    """Return partitions as columns: of ten thousand, a fifth of the bytes that objects take."""
    return {
        "partition": [each.partition for each in partitions],
        "log_start": [each.log_start for each in partitions],
        "log_end": [each.log_end for each in partitions],
        "committed": [each.committed for each in partitions],
        "left_records": [each.left_records for each in partitions],
        "blocked_records": [each.blocked_records for each in partitions],
        "replica": [each.replica for each in partitions],
    }


def parameter(request: Request, name: str) -> str | None:
    """Return a parameter of the query; ``None`` if it is not there, or empty."""
    value = request.query_params.get(name)
    if value is not None and len(value) > MOST_NAME_CHARACTERS:
        raise HTTPException(400, f"{name}: has at most {MOST_NAME_CHARACTERS} characters")
    return value or None
