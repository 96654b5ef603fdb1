"""Reads a record: a request, or a record whose outcome is already known."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from consumer.ports import Record
from schemas.bodies.endpoints import find_endpoint
from schemas.wire import headers
from schemas.wire.framing import FRAME_BYTES, FRAME_START, describe_frame, strip_marks
from schemas.wire.references import IllegalUrlError, RequestBodyReference, check_url, prefix_of
from schemas.wire.reply_topics import is_allowed
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
REPLY_TOPIC_REFUSED = "reply_topic_refused"
_SHOWN_CHARACTERS = 249
MOST_ENDS = 3
"""After this many consumers ended on a record, the next one does not read it."""


class Request(NamedTuple):
    """A record that a model is to answer.

    Attributes:
        work: Its work relative to others, in any unit; 0 if unknown.
        reference: Where its body lies, unless it is in the record.
        line: The request line for the model, if it differs from the record's value.
        reply_topic: Where its result goes, unless to the results topic.
    """

    custom_id: str
    deadline_ms: int | None
    work: float = 0.0
    url: str = ""
    reference: RequestBodyReference | None = None
    line: bytes | None = None
    reply_topic: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that this route cannot serve; its result carries a status."""

    custom_id: str
    status_code: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record to dead-letter, with a result beside it if there is a custom_id."""

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
        work_field: The body field that states a request's work, if the model has one.
        body_prefixes: Urls under which bodies may lie, as ``references.check_prefix`` returns them.
        takes_frame: Whether values may begin with a schema registry's frame.
        reply_topics: Patterns of the topics that a request may name for its result.
    """

    urls: frozenset[str]
    max_request_bytes: int
    work_field: str | None = None
    body_prefixes: tuple[str, ...] = ()
    max_object_bytes: int = 0
    takes_frame: bool = False
    reply_topics: tuple[str, ...] = ()

    def read(self, record: Record) -> Request | Refused | Unreadable | Tombstone:
        """Return what ``record`` is; never raises, whatever the value is."""
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
        deadline_ms = None
        reply_topic = None
        if record.headers:
            named = dict(record.headers)  # the last of a name counts
            deadline_ms = headers.deadline_ms_of(named.get(headers.DEADLINE))
            if headers.REPLY_TOPIC in named:
                reply_topic = self._allowed(named[headers.REPLY_TOPIC])
                if reply_topic is None:
                    return self._refuse_reply(plain, named[headers.REPLY_TOPIC])
        line = None if plain is value else plain
        fields = plain_fields(plain)
        if fields is not None and fields[1] in self.urls:
            custom_id, url, body = fields
            return Request(custom_id, deadline_ms, self.work_of(body), url, None, line, reply_topic)
        read = self._read_exactly(value, plain, deadline_ms)
        return read._replace(reply_topic=reply_topic) if isinstance(read, Request) else read

    def reply_topic_of(self, record: Record) -> str | None:
        """Return where any record's results go; ``None`` if to the results topic."""
        value = headers.last_value(record.headers, headers.REPLY_TOPIC)
        return self._allowed(value)

    def _allowed(self, value: bytes | None) -> str | None:
        try:
            topic = (value or b"").decode()
        except UnicodeDecodeError:
            return None
        return topic if is_allowed(topic, self.reply_topics) else None

    def _refuse_reply(self, plain: bytes, value: bytes | None) -> Refused | Unreadable:
        read = self._read_exactly(plain, plain, None)
        if not isinstance(read, Request):
            return read
        shown = (value or b"")[:_SHOWN_CHARACTERS].decode("utf-8", "replace")
        allowed = (
            f"this route allows {', '.join(self.reply_topics)}"
            if self.reply_topics
            else "this route allows none (reply_topics)"
        )
        message = f"{headers.REPLY_TOPIC}: a result may not go to topic {shown!r}; {allowed}"
        body = encode_refusal_body(message, REPLY_TOPIC_REFUSED, headers.REPLY_TOPIC)
        return Refused(read.custom_id, STATUS_BAD_REQUEST, body)

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
            # orjson reads deeper nesting than it writes.
            raise UnreadableRequestError(
                "invalid_request_line",
                f"url: cannot be passed on as {url} ({error}); write it so, or nest the body less",
                line.custom_id,
                "url",
            ) from None
        return value, line.model_copy(update={"url": url})

    def _outcome_of(self, error: UnreadableRequestError, value: bytes) -> Refused | Unreadable:
        if value.startswith(FRAME_START):
            # The route's setting is at fault, so the record is kept for a replay.
            return Unreadable(
                ErrorCode.INVALID_JSON, describe_frame(value), custom_id_of(value[FRAME_BYTES:])
            )
        if error.custom_id is None:
            return Unreadable(ErrorCode(error.code), str(error))
        status = STATUS_NOT_FOUND if error.code == UNKNOWN_URL else STATUS_BAD_REQUEST
        body = encode_refusal_body(str(error), error.code, error.field)
        return Refused(error.custom_id, status, body)

    def work_of(self, body: dict[str, Any]) -> float:
        if self.work_field is None:
            return 0.0
        work = body.get(self.work_field)
        # Other values are the model's to refuse.
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
