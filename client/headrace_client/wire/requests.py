"""Writes request lines, their headers and control records; reads lines that users bring. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from headrace_client.errors import BadLineError
from headrace_client.wire import names
from headrace_client.wire.exact_json import exact_json
from headrace_client.wire.names import Header, Headers

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_SHOWN_CHARACTERS = 40


class RequestLine(NamedTuple):
    """A line of an OpenAI Batch input file: ``value`` as published, and two fields of it."""

    custom_id: str
    url: str
    value: bytes


def encode_request(custom_id: str, url: str, body: Mapping[str, Any]) -> bytes:
    """Return a request's value; ``BadLineError`` if the body is not JSON."""
    try:
        return exact_json(
            {"custom_id": custom_id, "method": "POST", "url": url, "body": body}, option=_OPTIONS
        )
    except (TypeError, orjson.JSONEncodeError) as error:
        raise BadLineError(
            f"request {custom_id}: the body cannot be written as JSON: {error}"
        ) from None


def read_request(
    line: bytes | str | Mapping[str, Any], number: int, default_id: str
) -> RequestLine:
    """Check a line of the user's; ``default_id`` is the custom_id of a line without one.

    Raises ``BadLineError``, which names the line's number and the field.
    """
    try:
        fields = orjson.loads(line) if isinstance(line, bytes | str) else dict(line)
    except (orjson.JSONDecodeError, ValueError, TypeError) as error:
        raise BadLineError(f"line {number} is not JSON ({error}): {_shown(line)}") from None
    if not isinstance(fields, dict):
        raise BadLineError(f"line {number} is not a JSON object: {_shown(line)}")
    custom_id, url = fields.get("custom_id"), fields.get("url")
    if custom_id is None:
        custom_id = fields["custom_id"] = default_id
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= names.MAX_CUSTOM_ID_CHARACTERS:
        raise BadLineError(
            f"line {number}: custom_id must be text of 1 to {names.MAX_CUSTOM_ID_CHARACTERS} "
            "characters"
        )
    if not isinstance(url, str) or not 0 < len(url) <= names.MAX_URL_CHARACTERS:
        raise BadLineError(
            f"line {number} ({custom_id}): url must name an endpoint, e.g. {names.EMBEDDINGS_URL}"
        )
    if "body_ref" not in fields and not isinstance(fields.get("body"), dict):
        raise BadLineError(f"line {number} ({custom_id}): body must be a JSON object")
    try:
        return RequestLine(custom_id, url, exact_json(fields, option=_OPTIONS))
    except (TypeError, orjson.JSONEncodeError) as error:
        raise BadLineError(f"line {number} ({custom_id}) is not JSON: {error}") from None


def request_headers(
    *,
    deadline_ms: int | None = None,
    job: str | None = None,
    job_weight: int | None = None,
    tenant: str | None = None,
    priority: str | None = None,
    reply_topic: str | None = None,
    more: Mapping[str, str] | None = None,
) -> Headers:
    """Return a request's headers; ``deadline_ms`` is milliseconds since 1970."""
    values = (
        (names.DEADLINE, None if deadline_ms is None else str(deadline_ms)),
        (names.JOB, job),
        (names.JOB_WEIGHT, None if job_weight is None else str(job_weight)),
        (names.TENANT, tenant),
        (names.PRIORITY, priority),
        (names.REPLY_TOPIC, reply_topic),
    )
    own: list[Header] = [(name, value.encode()) for name, value in values if value is not None]
    own.extend((name, value.encode()) for name, value in (more or {}).items())
    return tuple(own)


class ControlRecord(NamedTuple):
    """What cancels requests that were published no later than it is."""

    key: bytes
    value: bytes


def cancel_request(route: str, custom_id: str) -> ControlRecord:
    return _cancel(route, "custom_id", custom_id)


def cancel_job(route: str, job: str) -> ControlRecord:
    return _cancel(route, "job", job)


def _cancel(route: str, kind: str, name: str) -> ControlRecord:
    value = orjson.dumps({"action": "cancel", "route": route, kind: name})
    return ControlRecord(f"{route}/{kind} {name}".encode(), value)


def _shown(line: object) -> str:
    if isinstance(line, bytes):
        return repr(line[:_SHOWN_CHARACTERS].decode(errors="backslashreplace"))
    return repr(str(line)[:_SHOWN_CHARACTERS])
