"""Record headers: what travels beside the request line and is not the model's business."""

from collections.abc import Iterable

Header = tuple[str, bytes | None]
"""A name and a value; Kafka's headers may have none, which is not an empty one."""

Headers = list[Header]

RESERVED_PREFIX = "headrace-"
DEADLINE = "headrace-deadline"
JOB = "headrace-job"
JOB_WEIGHT = "headrace-job-weight"
TENANT = "headrace-tenant"
PRIORITY = "headrace-priority"
REPLY_TOPIC = "headrace-reply-topic"
"""The topic of the request's result, in place of the route's results topic."""
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

SOURCE = "headrace-source"
ATTEMPTS = "headrace-attempts"
MODEL = "headrace-model"
TIMINGS = "headrace-timings"

ERROR_CODE = "headrace-error-code"
ERROR_MESSAGE = "headrace-error-message"
FAILED_AT = "headrace-failed-at"
ROUTE = "headrace-route"
REPLAYS = "headrace-replays"
"""How often a dead letter was published again as a request; its history stands beside it."""
FAILURES = "headrace-failures"
"""The earlier failures of a replayed request; see ``schemas.wire.deadletters.Failure``."""
OMITTED_VALUE_BYTES = "headrace-omitted-value-bytes"
OMITTED_VALUE_SHA256 = "headrace-omitted-value-sha256"

OWN = frozenset(
    {
        SOURCE,
        ATTEMPTS,
        MODEL,
        TIMINGS,
        ERROR_CODE,
        ERROR_MESSAGE,
        FAILED_AT,
        ROUTE,
        REPLAYS,
        FAILURES,
        OMITTED_VALUE_BYTES,
        OMITTED_VALUE_SHA256,
    }
)
"""What Headrace itself stamps on results, dead letters and replayed requests; each is small."""

ECHOED = frozenset({JOB, TENANT, PRIORITY, REPLY_TOPIC, REPLAYS})
"""Reserved headers that come back on the result: the producer's own, and that it is a replay's."""

MAX_MESSAGE_CHARACTERS = 1_000
MAX_EPOCH_MS_DIGITS = 15


JobOfRecord = tuple[bytes, int]
"""The name and the weight of the job that a request belongs to."""

NO_JOB: JobOfRecord = (b"", 1)
"""Records without a job are a job of their own."""
_WEIGHTS: dict[bytes | None, int] = {b"%d" % weight: weight for weight in range(1, 101)}


def read_deadline_ms(headers: Iterable[Header]) -> int | None:
    """Return the epoch milliseconds after which the request is not worth computing, if it says.

    A malformed one counts as absent: a record must never fail by a header that another program
    stamped on it.
    """
    return deadline_ms_of(last_value(headers, DEADLINE))


def deadline_ms_of(value: bytes | None) -> int | None:
    if not value:
        return None
    return int(value) if value.isdigit() and len(value) <= MAX_EPOCH_MS_DIGITS else None


def read_job(headers: Iterable[Header]) -> JobOfRecord:
    """Return the request's job and its weight; a malformed weight counts as absent, which is 1."""
    name = weight = None
    for each, value in headers:
        if each == JOB:
            name = value
        elif each == JOB_WEIGHT:
            weight = value
    if not name:
        return NO_JOB
    return name, _WEIGHTS.get(weight, 1)


def last_value(headers: Iterable[Header], name: str) -> bytes | None:
    """Return what counts of a name: the last value, also where that is none."""
    found = None
    for each, value in headers:
        if each == name:
            found = value
    return found


def echo(headers: Iterable[Header]) -> Headers:
    """Return the request's headers that its result carries: all but the reserved ones."""
    return [
        (name, value)
        for name, value in headers
        if not name.startswith(RESERVED_PREFIX) or name in ECHOED
    ]


def encode_source(topic: str, partition: int, offset: int) -> bytes:
    return f"{topic}/{partition}/{offset}".encode()


def encode_message(text: str) -> bytes:
    return text[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "replace")
