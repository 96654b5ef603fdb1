"""Reads a record: it is a request, or its outcome is known already."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from consumer.ports import Record
from schemas.bodies.endpoints import find_endpoint
from schemas.wire import headers
from schemas.wire.framing import FRAME_BYTES, FRAME_START, describe_frame, strip_marks
from schemas.wire.references import IllegalUrlError, RequestBodyReference, check_url, prefix_of
from schemas.wire.requests import (
    ReferencedRequestLine,
    RequestLine,
    UnreadableRequestError,
    custom_id_of,
    leading_custom_id,
    parse_request_line,
    plain_fields,
)
from schemas.wire.results import ErrorCode, encode_refusal_body

STATUS_BAD_REQUEST = 400
STATUS_NOT_FOUND = 404
UNKNOWN_URL = "unknown_url"
MOST_ENDS = 3
"""So many consumers may end on a record; the next one does not read it."""


class Request(NamedTuple):
    """A record that a model is to answer.

    Attributes:
        custom_id: The producer's name for it.
        deadline_ms: Epoch milliseconds after which it is not worth computing.
        work: How much work it is beside others, in any unit; 0 if unknown.
        url: The endpoint.
        reference: Where its body lies, unless it stands in the record.
        line: The request line as the model is to have it, where that is not the record's value.
    """

    custom_id: str
    deadline_ms: int | None
    work: float = 0.0
    url: str = ""
    reference: RequestBodyReference | None = None
    line: bytes | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """What this route cannot serve, but can answer; its outcome is a result with a status."""

    custom_id: str
    status_code: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record whose outcome is a dead letter, with a result beside it where there is an id."""

    code: ErrorCode
    message: str
    custom_id: str | None = None


class Tombstone:
    """A record without a value: skipped and counted."""


TOMBSTONE = Tombstone()


@dataclass(slots=True)
class Intake:
    """Reads records for one route.

    Attributes:
        urls: The endpoints that the route's model answers.
        max_request_bytes: The most bytes a record's value may have.
        work_field: The body field that says how much work a request is, if the model has one.
        body_prefixes: Urls under which bodies may lie, as ``references.check_prefix`` returns them.
        max_object_bytes: The most bytes that such a body may have.
        takes_frame: Whether values may begin with a schema registry's frame.
    """

    urls: frozenset[str]
    max_request_bytes: int
    work_field: str | None = None
    body_prefixes: tuple[str, ...] = ()
    max_object_bytes: int = 0
    takes_frame: bool = False

    def read(self, record: Record) -> Request | Refused | Unreadable | Tombstone:
        """Return what ``record`` is; never raises, whatever the value holds."""
        value = record.value
        if value is None:
            if record.problem is not None:
                return Unreadable(ErrorCode.REQUEST_TOO_LARGE, record.problem)
            return TOMBSTONE
        if len(value) > self.max_request_bytes:
            return Unreadable(
                ErrorCode.REQUEST_TOO_LARGE,
                f"the value has {len(value):,} bytes, over the route's limits.max_request_bytes of "
                f"{self.max_request_bytes:,}; split the request or raise the limit",
                leading_custom_id(value),
            )
        is_plain = value.startswith(b"{")
        plain = value if is_plain else strip_marks(value, takes_frame=self.takes_frame)
        deadline_ms = headers.read_deadline_ms(record.headers) if record.headers else None
        line = None if plain is value else plain
        fields = plain_fields(plain)
        if fields is not None and fields[1] in self.urls:
            custom_id, url, body = fields
            return Request(custom_id, deadline_ms, self.work_of(body), url, None, line)
        return self._read_exactly(value, plain, deadline_ms)

    def _read_exactly(
        self, value: bytes, plain: bytes, deadline_ms: int | None
    ) -> Request | Refused | Unreadable:
        try:
            line = parse_request_line(plain)
            if line.url not in self.urls:
                plain, line = self._with_endpoint(plain, line)
        except UnreadableRequestError as error:
            return self._outcome_of(error, plain)
        if isinstance(line, ReferencedRequestLine):
            return self._read_reference(line, deadline_ms)
        own_line = None if plain is value else plain
        work = self.work_of(line.body)
        return Request(line.custom_id, deadline_ms, work, line.url, None, own_line)

    def _with_endpoint(
        self, value: bytes, line: RequestLine | ReferencedRequestLine
    ) -> tuple[bytes, RequestLine | ReferencedRequestLine]:
        """Return a request line with its url as the model knows it.

        Raises:
            UnreadableRequestError: The route's model has no such endpoint.
        """
        url = find_endpoint(line.url, self.urls)
        if url is None:
            raise UnreadableRequestError(
                UNKNOWN_URL,
                f"url {line.url!r} is not served here; this route answers "
                + ", ".join(sorted(self.urls)),
                line.custom_id,
                "url",
            )
        try:
            value = orjson.dumps({**orjson.loads(value), "url": url})
        except orjson.JSONEncodeError as error:
            # orjson reads deeper nests than it writes.
            raise UnreadableRequestError(
                "invalid_request_line",
                f"url: cannot be passed on as {url} ({error}); write it so, or nest the body less",
                line.custom_id,
                "url",
            ) from None
        return value, line.model_copy(update={"url": url})

    def _outcome_of(self, error: UnreadableRequestError, value: bytes) -> Refused | Unreadable:
        """Answer it by its custom_id; a record without one becomes a dead letter."""
        if value.startswith(FRAME_START):
            # The route's setting is at fault, so the record stays to be replayed.
            return Unreadable(
                ErrorCode.INVALID_JSON, describe_frame(value), custom_id_of(value[FRAME_BYTES:])
            )
        if error.custom_id is None:
            return Unreadable(ErrorCode(error.code), str(error))
        status = STATUS_NOT_FOUND if error.code == UNKNOWN_URL else STATUS_BAD_REQUEST
        body = encode_refusal_body(str(error), error.code, error.field)
        return Refused(error.custom_id, status, body)

    def work_of(self, body: dict[str, Any]) -> float:
        """Return how much work a request of this body is; 0 if unknown."""
        if self.work_field is None:
            return 0.0
        work = body.get(self.work_field)
        # Whatever else stands there is the model's to refuse.
        return float(work) if isinstance(work, int | float) and abs(work) < 1e18 else 0.0

    def _read_reference(
        self, line: ReferencedRequestLine, deadline_ms: int | None
    ) -> Request | Refused:
        problem = self._problem_of(line.body_ref)
        if problem is None:
            return Request(line.custom_id, deadline_ms, 0.0, line.url, line.body_ref)
        body = encode_refusal_body(problem, "reference_refused", "body_ref")
        return Refused(line.custom_id, STATUS_BAD_REQUEST, body)

    def _problem_of(self, reference: RequestBodyReference) -> str | None:
        """Return why a reference may not be followed, without asking the store."""
        if not self.body_prefixes:
            return (
                "body_ref: this route takes no references; set claim_check.request_prefixes, or "
                "send the body"
            )
        try:
            prefix = prefix_of(check_url(reference.url), self.body_prefixes)
        except IllegalUrlError as error:
            return f"body_ref.url: {error}"
        if prefix is None:
            return "body_ref.url: is under none of the route's claim_check.request_prefixes"
        if (reference.size_bytes or 0) > self.max_object_bytes:
            return (
                f"body_ref.size_bytes: {reference.size_bytes:,} bytes are over the "
                f"{self.max_object_bytes:,} of claim_check.max_object_bytes"
            )
        return None


def give_up(record: Record, ends: int) -> Unreadable:
    """Dead-letter, unread, a record on which consumers ended one after another."""
    return Unreadable(
        ErrorCode.READING_FAILED,
        f"{ends} consumers ended, one after another, while they read this record; look for their "
        "end in Ray's logs, and send it again once the cause is gone",
        leading_custom_id(record.value or b""),
    )


def is_expired(deadline_ms: int | None, epoch_ms: int) -> bool:
    return deadline_ms is not None and deadline_ms <= epoch_ms
