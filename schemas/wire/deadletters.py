"""A dead letter: the record untouched, key and headers too, and headers that say what failed.

A replayed dead letter is a request again, with its failure moved from those headers into a history
that stays with it.
"""

from collections.abc import Iterable, Sequence
from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.wire import headers
from schemas.wire.header_models import DIGITS, RequestHeaders, Source
from schemas.wire.headers import Header, Headers
from schemas.wire.results import ErrorCode

MAX_HISTORY_BYTES = 3_800
"""What ``headrace-failures`` may take; then failures in the middle are left out."""
MAX_HISTORY_MESSAGE_CHARACTERS = 200
_MAX_REPLAYS_DIGITS = 9


class DeadLetterHeaders(RequestHeaders):
    """Headers of a dead letter. The request's own stand before them, in their order."""

    deadline: str | None = Field(
        default=None,
        alias=headers.DEADLINE,
        description="As the producer wrote it, be it a deadline or not.",
    )
    reply_topic: str | None = Field(
        default=None,
        alias=headers.REPLY_TOPIC,
        description="As the producer wrote it, allowed or not; a replay keeps it.",
    )
    source: Source
    route: str = Field(alias=headers.ROUTE, description="The route that gave up on the record.")
    error_code: ErrorCode = Field(
        alias=headers.ERROR_CODE, description="Why, for a program; one of a fixed list."
    )
    error_message: str = Field(
        alias=headers.ERROR_MESSAGE,
        description=f"Why, for a person; at most {headers.MAX_MESSAGE_CHARACTERS:,} characters.",
    )
    attempts: str = Field(
        alias=headers.ATTEMPTS,
        pattern=DIGITS,
        description="How often the model was asked; 0 where the record could not be read.",
    )
    failed_at: str = Field(
        alias=headers.FAILED_AT, pattern=DIGITS, description="When, in epoch milliseconds."
    )
    omitted_value_bytes: str | None = Field(
        default=None,
        alias=headers.OMITTED_VALUE_BYTES,
        pattern=DIGITS,
        description="Present where the value was too large to publish again: its size in bytes. "
        "It can be read at its source.",
    )
    omitted_value_sha256: str | None = Field(
        default=None,
        alias=headers.OMITTED_VALUE_SHA256,
        pattern=r"^[0-9a-f]{64}$",
        description="The omitted value's SHA-256, in hexadecimal.",
    )

    @classmethod
    def read(cls, record_headers: Iterable[Header]) -> Self:
        """Read the last header of each name; ``ValidationError`` if they are no dead letter's."""
        return cls.model_validate(
            {
                name: value.decode("utf-8", "replace")
                for name, value in record_headers
                if value is not None
            }
        )


class Failure(BaseModel):
    """One earlier failure of a replayed request, as ``headrace-failures`` lists it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    error_code: str = Field(max_length=64)
    error_message: str = Field(default="", max_length=MAX_HISTORY_MESSAGE_CHARACTERS)
    source: str = Field(
        max_length=300, description="Where the request stood then: TOPIC/PARTITION/OFFSET."
    )
    route: str = Field(default="", max_length=64)
    attempts: int = Field(default=0, ge=0)
    failed_at: int = Field(ge=0, description="Epoch milliseconds.")


_FAILURES = TypeAdapter(list[Failure])


def split_headers(record_headers: Sequence[Header]) -> tuple[Headers, Headers]:
    """Return a dead letter's headers in two: the request's own, and what Headrace added.

    The last ``headrace-source`` opens what was added; the request may have had one itself.
    """
    for index in range(len(record_headers) - 1, -1, -1):
        if record_headers[index][0] == headers.SOURCE:
            return list(record_headers[:index]), list(record_headers[index:])
    return list(record_headers), []


def read_replays(record_headers: Iterable[Header]) -> int:
    """Return how often the record was replayed; what is no number counts as none."""
    value = headers.last_value(record_headers, headers.REPLAYS) or b""
    return int(value) if value.isdigit() and len(value) <= _MAX_REPLAYS_DIGITS else 0


def read_failures(record_headers: Iterable[Header]) -> list[Failure]:
    value = headers.last_value(record_headers, headers.FAILURES)
    if not value or len(value) > MAX_HISTORY_BYTES:
        return []
    try:
        return _FAILURES.validate_json(value)
    except ValidationError:
        return []


def replayed_headers(
    request_headers: Sequence[Header], failure: Failure, *, keeps_deadline: bool = True
) -> Headers:
    """Return a dead letter's headers as a request: ``failure`` joins the history."""
    dropped = {headers.REPLAYS, headers.FAILURES} | (
        set() if keeps_deadline else {headers.DEADLINE}
    )
    replays = read_replays(request_headers) + 1
    failures = [*read_failures(request_headers), failure]
    return [
        *((name, value) for name, value in request_headers if name not in dropped),
        (headers.REPLAYS, b"%d" % replays),
        (headers.FAILURES, _encode_failures(failures)),
    ]


def _encode_failures(failures: list[Failure]) -> bytes:
    """Encode them, leaving out from the second on while they take too much."""
    kept = [failure.model_dump() for failure in failures]
    encoded = orjson.dumps(kept)
    while len(encoded) > MAX_HISTORY_BYTES and len(kept) > 1:
        # The first has the place where the request came from, the last why it is replayed.
        del kept[1 if len(kept) > 2 else 0]
        encoded = orjson.dumps(kept)
    return encoded
