"""One request record's value: a line of an OpenAI Batch input file."""

import json
import re
from operator import itemgetter
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from schemas.wire.framing import strip_marks
from schemas.wire.references import RequestBodyReference

MAX_CUSTOM_ID_CHARACTERS = 512
MAX_URL_CHARACTERS = 256
MAX_ECHOED_ID_CHARACTERS = 4096
"""A longer custom_id is none: a result must stay small enough to say what is wrong with it."""
_EXPECTED_VALUE = "the value must be one JSON object, as a line of an OpenAI Batch input file"

_FIELDS = itemgetter("custom_id", "url", "body")
_HEAD_BYTES = 64 * 1024
_HEAD = re.compile(
    rb"""\s*\{\s*(?:"(?:method|url)"\s*:\s*"[^"\\]*"\s*,\s*)*"""
    rb""""custom_id"\s*:\s*("(?:[^"\\]|\\.)*"|-?[0-9][-+.0-9eE]*)\s*[,}]"""
)
"""A line as producers write it: its custom_id first, or behind method and url."""

CustomId = Annotated[str, Field(min_length=1, max_length=MAX_CUSTOM_ID_CHARACTERS)]
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARACTERS)]


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    custom_id: CustomId = Field(
        description="The producer's own name for this request, echoed in the result."
    )
    method: Literal["POST"] = Field(default="POST", description="Always POST.")
    url: Url = Field(description="The endpoint, e.g. /v1/embeddings.")


class RequestLine(_Line):
    """A request as producers publish it: OpenAI's Batch input line."""

    body: dict[str, Any] = Field(description="The endpoint's request body.")


class ReferencedRequestLine(_Line):
    """A request whose body lies in an object store, where its route allows that."""

    body: None = Field(default=None, description="Not beside body_ref.")
    body_ref: RequestBodyReference = Field(
        description="Where the endpoint's request body lies, as one JSON object."
    )


class UnreadableRequestError(ValueError):
    """A record's value cannot be read as a request.

    Attributes:
        code: A machine-readable reason, e.g. ``invalid_json``.
        custom_id: The request's, where the value has one nevertheless.
        field: The first field that is wrong, if it is known.
    """

    def __init__(
        self, code: str, message: str, custom_id: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.custom_id = custom_id
        self.field = field


def plain_fields(value: bytes) -> tuple[str, str, dict[str, Any]] | None:
    """Return custom_id, url and body of a request line that is right at first sight.

    ``None`` asks for ``parse_request_line``, whose verdict is the same and takes much longer:
    the line is wrong, or has a ``body_ref``, or a method in other letters.
    """
    try:
        # msgspec would leave the body raw, and with it numbers above a double's range, bytes that
        # are no UTF-8 and nests without end; to look for these takes longer than reading them.
        line = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    try:
        custom_id, url, body = _FIELDS(line)
    except (KeyError, TypeError):
        return None
    if type(custom_id) is not str or type(url) is not str or type(body) is not dict:
        return None
    if line.get("method", "POST") != "POST" or "body_ref" in line:
        return None
    if 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS and 0 < len(url) <= MAX_URL_CHARACTERS:
        return custom_id, url, body
    return None


def parse_request_line(value: bytes) -> RequestLine | ReferencedRequestLine:
    """Read one request record's value, UTF-8 JSON; neither its body nor its reference is checked.

    Raises:
        UnreadableRequestError: The value is not JSON (``invalid_json``; NaN, lone surrogates and
            other encodings are not JSON either) or not a request line (``invalid_request_line``).
    """
    try:
        # orjson holds to RFC 8259 where pydantic's own parser lets NaN and infinities through.
        line = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise UnreadableRequestError(
            "invalid_json",
            f"the value is not UTF-8 JSON ({error}); {_EXPECTED_VALUE}",
            _id_of(_read_leniently(value)),
        ) from None
    try:
        if not isinstance(line, dict):
            return RequestLine.model_validate(line)
        method = line.get("method")
        if method != "POST" and (method is None or _is_post(method)):
            line["method"] = "POST"
        if line.get("body_ref") is not None:
            return ReferencedRequestLine.model_validate(line)
        return RequestLine.model_validate(line)
    except ValidationError as error:
        raise UnreadableRequestError(
            "invalid_request_line",
            describe_validation_error(error),
            _id_of(line) or _id_of(_read_leniently(value)),
            first_field(error),
        ) from None


def leading_custom_id(value: bytes) -> str | None:
    """Return the custom_id of a value too large to be parsed, where it stands at the head."""
    match = _HEAD.match(strip_marks(value[:_HEAD_BYTES], takes_frame=True))
    return _id_of(_read_leniently(b'{"custom_id":' + match[1] + b"}")) if match else None


def custom_id_of(value: bytes) -> str | None:
    return _id_of(_read_leniently(value))


def _is_post(method: object) -> bool:
    return isinstance(method, str) and method.upper() == "POST"


def _read_leniently(value: bytes) -> object:
    """Return what Python's own parser makes of the value, numbers as they are spelled.

    It takes NaN, lone surrogates and stray bytes, which must not hide whose request it is.
    """
    try:
        text = value.decode("utf-8", "surrogateescape")
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=float)
    except (ValueError, RecursionError):
        return None


def _id_of(line: object) -> str | None:
    """Return the line's custom_id; ``None`` where no result can carry it."""
    custom_id = line.get("custom_id") if isinstance(line, dict) else None
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_ECHOED_ID_CHARACTERS:
        return None
    try:
        custom_id.encode()
    except UnicodeEncodeError:
        return None
    return custom_id


def describe_validation_error(error: ValidationError) -> str:
    """Name each wrong field and what is wrong with it, in one line without the input's text."""
    problems = []
    for problem in _problems(error):
        field = ".".join(str(part) for part in problem["loc"]) or "value"
        problems.append(f"{field}: {problem['msg']}")
    return "; ".join(problems[:5]) + ("; …" if len(problems) > 5 else "")


def first_field(error: ValidationError) -> str | None:
    location = _problems(error)[0]["loc"]
    return str(location[0]) if location else None


def _problems(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)
