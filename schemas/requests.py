"""One request record's value: a line of an OpenAI Batch input file."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.references import RequestBodyReference

MAX_CUSTOM_ID_CHARACTERS = 512
_EXPECTED_VALUE = "the value must be one JSON object, as a line of an OpenAI Batch input file"

CustomId = Annotated[str, Field(min_length=1, max_length=MAX_CUSTOM_ID_CHARACTERS)]


class RequestLine(BaseModel):
    """A request as producers publish it: OpenAI's Batch input line."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    custom_id: CustomId = Field(
        description="The producer's own name for this request, echoed in the result."
    )
    method: Literal["POST"] = Field(default="POST", description="Always POST.")
    url: str = Field(description="The endpoint, e.g. /v1/embeddings.", min_length=1, max_length=256)
    body: dict[str, Any] = Field(description="The endpoint's request body.")


class ReferencedRequestLine(BaseModel):
    """A request whose body lies in an object store, where its route allows that."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    custom_id: CustomId = Field(
        description="The producer's own name for this request, echoed in the result."
    )
    method: Literal["POST"] = Field(default="POST", description="Always POST.")
    url: str = Field(description="The endpoint, e.g. /v1/embeddings.", min_length=1, max_length=256)
    body: None = Field(default=None, description="Not beside body_ref.")
    body_ref: RequestBodyReference = Field(
        description="Where the endpoint's request body lies, as one JSON object."
    )


class UnreadableRequestError(ValueError):
    """A record's value cannot be read as a request; its only outcome is a dead letter.

    Attributes:
        code: A machine-readable reason, e.g. ``invalid_json``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_request_line(value: bytes) -> RequestLine | ReferencedRequestLine:
    """Read one request record's value.

    Args:
        value: UTF-8 JSON as it was published.

    Returns:
        The request; its ``body`` is not yet checked against any endpoint, nor where its
        ``body_ref`` leads.

    Raises:
        UnreadableRequestError: The value is not JSON (``invalid_json``; NaN, lone surrogates and
            other encodings are not JSON either) or not a request line (``invalid_request_line``).
    """
    try:
        # orjson holds to RFC 8259 where pydantic's own parser lets NaN and infinities through.
        line = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise UnreadableRequestError(
            "invalid_json", f"the value is not UTF-8 JSON ({error}); {_EXPECTED_VALUE}"
        ) from None
    try:
        if isinstance(line, dict) and line.get("body_ref") is not None:
            return ReferencedRequestLine.model_validate(line)
        return RequestLine.model_validate(line)
    except ValidationError as error:
        raise UnreadableRequestError(
            "invalid_request_line", describe_validation_error(error)
        ) from None


def describe_validation_error(error: ValidationError) -> str:
    """Name each wrong field and what is wrong with it, in one line without the input's text."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        field = ".".join(str(part) for part in problem["loc"]) or "value"
        problems.append(f"{field}: {problem['msg']}")
    return "; ".join(problems[:5]) + ("; …" if len(problems) > 5 else "")
