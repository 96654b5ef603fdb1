"""The console's application: the page, its events, and the same as JSON."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from consumer.ports import SourceError
from headrace.console.access.tokens import Grant
from headrace.console.live.feed import Feed
from headrace.console.ports import Service
from headrace.console.web.acting import Acting
from headrace.console.web.bodies import Json, json_body
from headrace.console.web.guard import COOKIE, Door, Guard, too_many
from headrace.console.web.page import page_routes
from headrace.console.web.reading import Reading
from headrace.errors import ServiceError, UserError
from headrace_client.errors import ClientError


def needed_grant(method: str, path: str) -> Grant:
    """Return what somebody must be granted for a method of a path."""
    if path == "/api/session":
        return Grant.NONE
    if method not in ("GET", "HEAD"):
        return Grant.ACT
    return Grant.READ if path.startswith("/api/") or path == "/metrics" else Grant.NONE


def console_app(
    *, feed: Feed, service: Service, reading: Reading, acting: Acting, door: Door
) -> ASGIApp:
    """Compose the application of what it reads from, what it acts by, and who gets in."""
    probes = _Probes(feed)
    sessions = _SessionPaths(door)
    metrics = _Metrics(service)
    routes = [
        *page_routes(),
        Route("/healthz", probes.healthz),
        Route("/readyz", probes.readyz),
        Route("/metrics", metrics.get),
        Route("/api/session", sessions.get, methods=["GET"]),
        Route("/api/session", sessions.post, methods=["POST"]),
        Route("/api/session", sessions.delete, methods=["DELETE"]),
        Route("/api/events", _Events(feed).get),
        Route("/api/overview", reading.overview),
        Route("/api/routes/{name}", reading.route),
        Route("/api/dead-letters", reading.dead_letters),
        Route("/api/jobs", reading.jobs),
        Route("/api/settings", reading.settings),
        Route("/api/dead-letters/replay", acting.replay, methods=["POST"]),
        Route("/api/jobs/{name}/{action}", acting.job, methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _refused,
            ServiceError: _unanswered,
            SourceError: _unanswered,
            ClientError: _impossible,
            UserError: _impossible,
            TimeoutError: _late,
        },
    )
    return Guard(app, door, needed_grant)


class _Probes:
    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def healthz(self, _request: Request) -> Response:
        return Json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Say whether the page has something to show; those who may read hear why not."""
        problem = self._feed.problem
        if problem is None:
            return Json({"status": "ready"})
        answer = {"status": "not ready"}
        if request.state.grant >= Grant.READ:
            answer["why"] = problem
        return Json(answer, 503)


class _SessionPaths:
    """Logging in and out: a token becomes a cookie that no script reads."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def get(self, request: Request) -> Response:
        tokens = request.state.tokens
        return Json(
            {
                "grant": request.state.grant.name.lower(),
                "highest_grant": tokens.highest_grant.name.lower(),
                "has_session": bool(request.state.session_id)
                and request.state.grant > tokens.open_grant,
            }
        )

    async def post(self, request: Request) -> Response:
        token = (await json_body(request)).get("token")
        if not isinstance(token, str):
            raise HTTPException(400, "token: must be text")
        granted, wait_s = self._door.try_token(token.strip(), request.state.client)
        if wait_s:
            raise HTTPException(429, too_many(wait_s).message)
        if granted is Grant.NONE:
            raise HTTPException(401, "this token is none of the console's")
        answer = Json({"grant": granted.name.lower()})
        answer.set_cookie(
            COOKIE,
            self._door.open_session(token.strip()),
            path="/",
            httponly=True,
            samesite="strict",
            secure=self._door.is_secure,
        )
        return answer

    async def delete(self, request: Request) -> Response:
        self._door.sessions.close(request.state.session_id)
        answer = Json({"grant": request.state.tokens.open_grant.name.lower()})
        answer.delete_cookie(
            COOKIE, path="/", httponly=True, samesite="strict", secure=self._door.is_secure
        )
        return answer


class _Metrics:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def get(self, _request: Request) -> Response:
        text, media_type = await self._service.exposition()
        return Response(text, headers={"content-type": media_type})


class _Events:
    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def get(self, request: Request) -> Response:
        if self._feed.is_full:
            raise HTTPException(503, "too many pages are open; close some")
        grant_now = request.state.grant_now
        return StreamingResponse(
            self._feed.listen(lambda: grant_now() >= Grant.READ),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return Json({"error": error.detail}, error.status_code, headers=error.headers)


async def _unanswered(_request: Request, error: Exception) -> Response:
    return Json({"error": str(error)}, 503)


async def _impossible(_request: Request, error: Exception) -> Response:
    return Json({"error": str(error)}, 409)


async def _late(_request: Request, _error: Exception) -> Response:
    return Json({"error": "there was no answer in time; try again"}, 504)
