"""What a record is, before any model sees it: a request, or an outcome already."""

from dataclasses import dataclass

from consumer.core.ports import Record
from schemas import headers
from schemas.requests import UnreadableRequestError, parse_request_line
from schemas.results import ErrorCode, encode_refusal_body

STATUS_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Request:
    """A record that a model is to answer."""

    custom_id: str
    deadline_ms: int | None
    work: float = 0.0


@dataclass(frozen=True, slots=True)
class Refused:
    """A valid request line that this route cannot serve; its outcome is a result with a status."""

    custom_id: str
    status_code: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record whose only outcome is a dead letter."""

    code: ErrorCode
    message: str


class Tombstone:
    """A record without a value: skipped and counted."""


TOMBSTONE = Tombstone()


@dataclass(frozen=True, slots=True)
class Intake:
    """Reads records for one route.

    Attributes:
        urls: The endpoints that the route's model answers.
        max_request_bytes: The most bytes a record's value may have.
        work_field: The body field that says how much work a request is, if the model has one.
    """

    urls: frozenset[str]
    max_request_bytes: int
    work_field: str | None = None

    def read(self, record: Record) -> Request | Refused | Unreadable | Tombstone:
        """Tell what ``record`` is; it never raises, whatever the value holds."""
        value = record.value
        if value is None:
            return TOMBSTONE
        if len(value) > self.max_request_bytes:
            return Unreadable(
                ErrorCode.REQUEST_TOO_LARGE,
                f"the value has {len(value):,} bytes, over the route's limits.max_request_bytes of "
                f"{self.max_request_bytes:,}; split the request or raise the limit",
            )
        try:
            line = parse_request_line(value)
        except UnreadableRequestError as error:
            return Unreadable(ErrorCode(error.code), str(error))
        if line.url not in self.urls:
            message = f"url {line.url!r} is not served here; this route answers " + ", ".join(
                sorted(self.urls)
            )
            body = encode_refusal_body(message, "unknown_url", "url")
            return Refused(line.custom_id, STATUS_NOT_FOUND, body)
        context = headers.read_context(record.headers) if record.headers else headers.NO_CONTEXT
        work = line.body.get(self.work_field) if self.work_field else None
        # Whatever else stands there is the model's to refuse.
        known_work = float(work) if isinstance(work, int | float) and abs(work) < 1e18 else 0.0
        return Request(line.custom_id, context.deadline_ms, known_work)


def is_expired(deadline_ms: int | None, epoch_ms: int) -> bool:
    """Say whether a deadline has passed."""
    return deadline_ms is not None and deadline_ms <= epoch_ms
