"""The headers that a command line gives to the requests of a file. Pure."""

from collections.abc import Iterable

from headrace.errors import UserError
from headrace.settings.problems import alternatives
from schemas.wire import headers
from schemas.wire.control import MAX_JOB_CHARACTERS
from schemas.wire.headers import Headers
from schemas.wire.trace_context import parse_trace_context

_OPTIONS = {
    headers.JOB: "--job",
    headers.DEADLINE: "--deadline",
    headers.JOB_WEIGHT: "--weight",
    headers.REPLY_TOPIC: "--reply-topic",
    headers.TRACEPARENT: "--traceparent",
}
_OF_A_PRODUCER = (
    *(each for each in _OPTIONS if each.startswith(headers.RESERVED_PREFIX)),
    headers.TENANT,
    headers.PRIORITY,
)


def request_headers(
    *,
    job: str | None,
    deadline_ms: int | None,
    weight: int | None,
    reply_topic: str | None,
    traceparent: str | None = None,
    others: Iterable[str],
) -> Headers:
    """Return a request's headers; ``others`` are ``NAME=VALUE``. ``UserError`` names the option."""
    if job is not None and not 1 <= len(job) <= MAX_JOB_CHARACTERS:
        raise UserError(f"--job: a name has 1 to {MAX_JOB_CHARACTERS} characters, not {len(job)}")
    if traceparent is not None and parse_trace_context(traceparent.encode()) is None:
        raise UserError(
            f"--traceparent: '{traceparent}' is no W3C trace context, e.g. "
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        )
    named = {
        headers.JOB: job,
        headers.DEADLINE: deadline_ms,
        headers.JOB_WEIGHT: weight,
        headers.REPLY_TOPIC: reply_topic,
        headers.TRACEPARENT: traceparent,
    }
    found: Headers = [
        (name, str(value).encode()) for name, value in named.items() if value is not None
    ]
    for text in others:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"--header: '{text}' is not NAME=VALUE, e.g. headrace-tenant=shop")
        if name.startswith(headers.RESERVED_PREFIX) and name not in _OF_A_PRODUCER:
            raise UserError(
                f"--header: {name} is not a request's: names that begin with "
                f"{headers.RESERVED_PREFIX} are Headrace's{alternatives(name, _OF_A_PRODUCER)}"
            )
        if any(name == each for each, _ in found):
            also = f", which {_OPTIONS[name]} sets too" if name in _OPTIONS else ""
            raise UserError(f"--header: {name} is given twice{also}; only the last would count")
        found.append((name, value.encode()))
    return found
