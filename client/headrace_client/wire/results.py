"""Reads result lines and dead letters. Pure."""

from dataclasses import dataclass
from typing import Any

import orjson

from headrace_client.errors import (
    RequestCancelledError,
    RequestError,
    RequestExpiredError,
    RequestFailedError,
    RequestRefusedError,
    UnreadableResultError,
)
from headrace_client.wire import names
from headrace_client.wire.names import Headers, Place, last_value

_OK = 200


@dataclass(frozen=True, slots=True)
class Result:
    """A result line: either a response or an error.

    Attributes:
        id: TOPIC-PARTITION-OFFSET of the request; the same for every repeat.
        custom_id: The request's.
        status_code: 200, or 4xx if the endpoint refused the request; ``None`` for an error.
        body: The response's body; empty for an error, and where ``body_ref`` says where it lies.
        body_ref: Where the body lies: ``url``, ``size_bytes`` and ``sha256``.
        error_code: Why there is no response.
        error_message: The same for people.
        headers: The record's, as bytes.
    """

    id: str
    custom_id: str
    status_code: int | None
    body: dict[str, Any]
    body_ref: dict[str, Any] | None
    error_code: str | None
    error_message: str
    headers: Headers = ()

    @property
    def is_ok(self) -> bool:
        return self.status_code == _OK

    @property
    def source(self) -> Place:
        """Where the request stands; raises ``UnreadableResultError`` if the id does not say."""
        topic, _, rest = self.id.rpartition("-")
        topic, _, partition = topic.rpartition("-")
        if not (topic and partition.isdigit() and rest.isdigit()):
            raise UnreadableResultError(f"result {self.id!r}: the id is no TOPIC-PARTITION-OFFSET")
        return Place(topic, int(partition), int(rest))

    def header(self, name: str) -> str | None:
        value = last_value(self.headers, name)
        return None if value is None else value.decode(errors="backslashreplace")

    def to_error(self) -> RequestError | None:
        """Return what a caller should raise; ``None`` for an answer."""
        if self.is_ok:
            return None
        about = {"custom_id": self.custom_id, "result_id": self.id}
        if self.status_code is not None:
            said = self.body.get("error")
            said = said if isinstance(said, dict) else {}
            message = str(said.get("message") or f"the endpoint refused it: {self.status_code}")
            return RequestRefusedError(
                message,
                code=str(said.get("code") or ""),
                status_code=self.status_code,
                param=said.get("param"),
                body=self.body,
                **about,
            )
        code = self.error_code or ""
        kind = {
            names.REQUEST_EXPIRED: RequestExpiredError,
            names.REQUEST_CANCELLED: RequestCancelledError,
        }.get(code, RequestFailedError)
        return kind(f"{code}: {self.error_message}", code=code, **about)


def parse_result(value: bytes | None, headers: Headers = ()) -> Result:
    """Read a record of a results topic; ``UnreadableResultError`` if it is no result line."""
    try:
        line = orjson.loads(value or b"")
        response, error = line["response"], line["error"]
        if response is not None:
            return Result(
                line["id"],
                line["custom_id"],
                int(response["status_code"]),
                response.get("body") or {},
                response.get("body_ref"),
                None,
                "",
                headers,
            )
        code, message = str(error["code"]), str(error["message"])
        return Result(line["id"], line["custom_id"], None, {}, None, code, message, headers)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as reason:
        raise UnreadableResultError(f"a record is no result line: {reason!r}") from None


def parse_dead_letter(value: bytes | None, headers: Headers) -> Result:
    """Read a dead letter as the result that its route leaves out; raises the same error."""
    code = last_value(headers, names.ERROR_CODE)
    source = last_value(headers, names.SOURCE)
    try:
        custom_id = orjson.loads(value or b"")["custom_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise UnreadableResultError("a dead letter has no custom_id") from None
    if code is None or source is None or not isinstance(custom_id, str):
        raise UnreadableResultError("a record is no dead letter of Headrace's")
    message = (last_value(headers, names.ERROR_MESSAGE) or b"").decode(errors="replace")
    line_id = source.decode(errors="replace").replace("/", "-")
    return Result(line_id, custom_id, None, {}, None, code.decode(), message, headers)
