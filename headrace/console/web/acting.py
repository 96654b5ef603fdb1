"""What acts: replays of dead letters, and commands to the runners of jobs."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from headrace.console.ports import Jobs, LetterFilter, Letters
from headrace.console.web.bodies import Json, json_body
from headrace.console.web.reading import MOST_NAME_CHARACTERS
from headrace.records.reading import parse_place
from headrace_client.registry.announcements import MOST_JOB_CHARACTERS, Action

log = logging.getLogger(__name__)

MOST_PLACES = 500
MOST_REPLAYED_RECORDS = 10_000
"""Of one request; more are replayed by more of them, or by `headrace dlq replay`."""
_KEYS = frozenset({"places", "route", "error_code", "failed_before_ms", "limit_records"})


class Acting:
    """Acts for those who may; each action is logged, with where it came from."""

    def __init__(self, *, letters: Letters, jobs: Jobs) -> None:
        self._letters = letters
        self._jobs = jobs

    async def replay(self, request: Request) -> Response:
        chosen = letter_filter(await json_body(request))
        client = request.state.client
        log.info(
            "console: %s replays dead letters: %s",
            client,
            _shown(chosen),
            extra={"event": "console_acts", "action": "replay", "client": client},
        )
        replayed = await self._letters.replay(chosen)
        log.info(
            "console: %s replayed %d dead letters, %d could not be",
            client,
            replayed.replayed_records,
            replayed.left_records,
            extra={
                "event": "console_acted",
                "action": "replay",
                "client": client,
                "records": replayed.replayed_records,
            },
        )
        return Json(asdict(replayed))

    async def job(self, request: Request) -> Response:
        name, said = request.path_params["name"], request.path_params["action"]
        if said not in list(Action):
            raise HTTPException(404, f"no action {said[:40]!r}; there are {', '.join(Action)}")
        if len(name) > MOST_JOB_CHARACTERS:
            raise HTTPException(400, f"a job's name has at most {MOST_JOB_CHARACTERS} characters")
        client = request.state.client
        log.info(
            "console: %s tells job %r to %s",
            client,
            name,
            said,
            extra={"event": "console_acts", "action": said, "client": client, "job": name},
        )
        told = await self._jobs.tell(name, Action(said), f"console@{client}")
        return Json({"job": name, "told": told})


def letter_filter(body: Mapping[str, Any]) -> LetterFilter:
    """Check what is to be replayed; raises ``HTTPException``, which names the field."""
    for key in body:
        if key not in _KEYS:
            raise HTTPException(400, f"{key[:40]}: no such field; there are {sorted(_KEYS)}")
    places = body.get("places", [])
    if not isinstance(places, list) or len(places) > MOST_PLACES:
        raise HTTPException(400, f"places: a list of at most {MOST_PLACES} TOPIC/PARTITION/OFFSET")
    found = {parse_place(each) if isinstance(each, str) else None for each in places}
    if None in found:
        raise HTTPException(400, "places: each must be TOPIC/PARTITION/OFFSET")
    chosen = LetterFilter(
        places=frozenset(each for each in found if each is not None),
        route=_text(body, "route"),
        error_code=_text(body, "error_code"),
        failed_before_ms=_number(body, "failed_before_ms", most=2**53),
        limit_records=_number(body, "limit_records", most=MOST_REPLAYED_RECORDS)
        or MOST_REPLAYED_RECORDS,
    )
    if not chosen.places and chosen.route is None:
        raise HTTPException(400, "name places, or the route whose dead letters are replayed")
    return chosen


def _text(body: Mapping[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is not None and (not isinstance(value, str) or len(value) > MOST_NAME_CHARACTERS):
        raise HTTPException(400, f"{key}: text of at most {MOST_NAME_CHARACTERS} characters")
    return value or None


def _number(body: Mapping[str, Any], key: str, *, most: int) -> int | None:
    value = body.get(key)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (is_number and 1 <= value <= most):
        raise HTTPException(400, f"{key}: a number from 1 to {most}")
    return value


def _shown(chosen: LetterFilter) -> str:
    if chosen.places:
        return f"{len(chosen.places)} chosen ones"
    code = f" with {chosen.error_code!r}" if chosen.error_code is not None else ""
    return f"of route {chosen.route!r}{code}, at most {chosen.limit_records}"
