"""A dead letter: the record untouched, key and headers too, and headers that say what failed."""

from collections.abc import Iterable
from typing import Self

from pydantic import Field

from schemas import headers
from schemas.header_models import DIGITS, SOURCE_PATTERN, RequestHeaders
from schemas.results import ErrorCode


class DeadLetterHeaders(RequestHeaders):
    """Headers of a dead letter. The request's own stand before them, in their order."""

    deadline: str | None = Field(
        default=None,
        alias=headers.DEADLINE,
        description="As the producer wrote it, be it a deadline or not.",
    )
    source: str = Field(
        alias=headers.SOURCE,
        pattern=SOURCE_PATTERN,
        description="Where the request stands: TOPIC/PARTITION/OFFSET.",
    )
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
    def read(cls, record_headers: Iterable[tuple[str, bytes]]) -> Self:
        """Read the headers of a dead letter.

        The last of each name counts: the request may have carried one of the same name.

        Raises:
            pydantic.ValidationError: They are not a dead letter's.
        """
        return cls.model_validate(
            {name: value.decode("utf-8", "replace") for name, value in record_headers}
        )
