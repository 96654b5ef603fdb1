"""What a job's runner says of it, and what it is told: the records of the jobs topic. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

import orjson

JOBS_TOPIC = "headrace.jobs"
"""The topic where the settings name no other."""
COMMAND_SUFFIX = b"/command"
MOST_JOB_CHARACTERS = 256
MOST_WAITS = 8
MOST_WAIT_CHARACTERS = 600
MOST_DESCRIPTION_CHARACTERS = 200
MOST_TEXT_CHARACTERS = 256
"""Of any other text."""
MOST_NUMBER = 2**53
"""Above it, readers of JSON differ in what they make of a number."""


class State(StrEnum):
    RUNNING = "running"
    DRAINING = "draining"
    """All is sent; answers are still to come."""
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    """Its runner has stopped; the same command goes on with it."""
    DONE = "done"
    PARTIAL = "partial"
    """Finished, with rows that failed."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


FINISHED = frozenset({State.DONE, State.PARTIAL, State.FAILED, State.CANCELLED, State.EXPIRED})


class Action(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


class UnreadableJobError(ValueError):
    """A record of the jobs topic that no release of Headrace wrote; it is passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many there are, as far as is known; ``done`` does not include ``failed``."""

    total: int | None = None
    sent: int = 0
    done: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """Where a job's records are; ``control`` is the route's, if it has one."""

    requests: str | None = None
    results: str | None = None
    control: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """How a job stands; times are epoch milliseconds.

    Attributes:
        job: The value of its requests' header ``headrace-job``; has no slash.
        kind: What runs it, e.g. ``bulk embed``.
        description: For a person, e.g. ``in.parquet -> out.parquet``; no password, no whole URL.
        user: Who started it, on ``host``.
        rows: Of the input; ``None`` if the job has none.
        items: What is computed: identical rows share an item.
        requests: Records on the requests topic.
        rate_per_s: Rows done a second, lately; items or requests of a job that has no rows.
        tokens_per_s: Tokens that those took, where the results say so.
        eta_s: Seconds to go, counted from ``updated_at_ms``.
        waits_for: What it waits for, a line each: ``SUBJECT: details, and what to do``.
        updated_at_ms: Stamped by the announcer.
    """

    job: str
    kind: str
    state: str
    started_at_ms: int
    route: str | None = None
    description: str = ""
    topics: Topics = field(default_factory=Topics)
    host: str = ""
    user: str = ""
    deadline_ms: int | None = None
    weight: int = 1
    rows: Counts | None = None
    items: Counts | None = None
    requests: Counts | None = None
    rate_per_s: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
    waits_for: tuple[str, ...] = ()
    updated_at_ms: int = 0

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def is_running(self) -> bool:
        """Whether its runner runs, by its own word."""
        return not self.is_finished and self.state != State.INTERRUPTED

    @property
    def key(self) -> bytes:
        return self.job.encode()

    def at(self, now_ms: int) -> Self:
        return replace(self, updated_at_ms=now_ms)

    def encode(self) -> bytes:
        """Return the record's value; over-long texts are cut."""
        values = asdict(self)
        values["description"] = self.description[:MOST_DESCRIPTION_CHARACTERS]
        values["waits_for"] = [each[:MOST_WAIT_CHARACTERS] for each in self.waits_for[:MOST_WAITS]]
        return orjson.dumps({name: value for name, value in values.items() if value is not None})

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a record's value; ``UnreadableJobError`` names the field that is wrong.

        Whoever may write to the topic chooses what stands there: over-long texts are cut, as
        ``encode`` does, and what a runner foretells is at most ``MOST_NUMBER``.
        """
        values = _known(cls, _object(value))
        for name, kind in _PARTS.items():
            if values.get(name) is not None:
                values[name] = kind(**_known(kind, values[name], f"{name}."))
        waits_for = values.get("waits_for", [])
        if not isinstance(waits_for, list) or not all(isinstance(each, str) for each in waits_for):
            raise UnreadableJobError("waits_for: is no list of texts")
        values["waits_for"] = tuple(each[:MOST_WAIT_CHARACTERS] for each in waits_for[:MOST_WAITS])
        try:
            check_job_name(values.get("job", ""))
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise UnreadableJobError(str(error)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the runner of ``job`` is told, by whom (``USER@HOST``) and when (epoch ms)."""

    job: str
    action: Action
    at_ms: int
    by: str = ""

    @property
    def key(self) -> bytes:
        return command_key(self.job)

    def encode(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        values = _known(cls, _object(value))
        try:
            values["action"] = Action(values.get("action", ""))
            command = cls(**values)
        except (TypeError, ValueError) as error:
            raise UnreadableJobError(str(error)) from None
        return command


_PARTS: dict[str, type[Counts] | type[Topics]] = {
    "topics": Topics,
    **dict.fromkeys(("rows", "items", "requests"), Counts),
}
_TEXT, _NUMBER, _NOTHING = (str,), (int,), (type(None),)
_KINDS: dict[type[Any], dict[str, tuple[type, ...]]] = {
    Announcement: {
        **dict.fromkeys(("job", "kind", "state", "description", "host", "user"), _TEXT),
        **dict.fromkeys(("started_at_ms", "updated_at_ms", "weight"), _NUMBER),
        **dict.fromkeys(("rate_per_s", "tokens_per_s", "eta_s"), (int, float, *_NOTHING)),
        "deadline_ms": _NUMBER + _NOTHING,
        "route": _TEXT + _NOTHING,
    },
    Counts: {
        "total": _NUMBER + _NOTHING,
        **dict.fromkeys(("sent", "done", "failed"), _NUMBER),
    },
    Topics: dict.fromkeys(("requests", "results", "control"), _TEXT + _NOTHING),
    Command: {"job": _TEXT, "action": _TEXT, "at_ms": _NUMBER, "by": _TEXT},
}


def command_key(job: str) -> bytes:
    return job.encode() + COMMAND_SUFFIX


def check_job_name(job: str) -> str:
    """Return a name that a job may have in the registry; ``ValueError`` says what is wrong."""
    if not 0 < len(job) <= MOST_JOB_CHARACTERS:
        raise ValueError(f"a job's name has 1 to {MOST_JOB_CHARACTERS} characters: {job[:40]!r}")
    if "/" in job or not job.isprintable():
        raise ValueError(f"a job's name has no slash and no control character: {job!r}")
    return job


def _object(value: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise UnreadableJobError(f"not JSON ({error})") from None
    if not isinstance(found, dict):
        raise UnreadableJobError("not a JSON object")
    return found


def _known(kind: type[Any], values: Any, path: str = "") -> dict[str, Any]:
    """Return the fields that this release knows, checked and cut to their limits.

    A newer release may have written others.
    """
    if not isinstance(values, Mapping):
        raise UnreadableJobError(f"{path.removesuffix('.')}: is no object")
    names = {each.name for each in fields(kind)}
    known = {name: value for name, value in values.items() if name in names}
    for name, kinds in _KINDS[kind].items():
        if name not in known:
            continue
        value = known[name]
        if not isinstance(value, kinds):
            shown = repr(value)[:40]
            raise UnreadableJobError(f"{path}{name}: {shown} is no {kinds[0].__name__}")
        known[name] = _bounded(value, f"{path}{name}")
    return known


def _bounded(value: Any, name: str) -> Any:
    if isinstance(value, str) and name != "job":
        most = MOST_DESCRIPTION_CHARACTERS if name == "description" else MOST_TEXT_CHARACTERS
        return value[:most]
    if isinstance(value, float):
        return min(value, float(MOST_NUMBER)) if value >= 0 else 0.0
    if isinstance(value, int) and abs(value) > MOST_NUMBER:
        raise UnreadableJobError(f"{name}: {value} is beyond {MOST_NUMBER}")
    return value
