"""One result record's value: a line of an OpenAI Batch output file."""

from enum import StrEnum
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from schemas.wire.references import BodyReference


class ErrorCode(StrEnum):
    """Why a request has no response, or why a record was dead-lettered."""

    INVALID_JSON = "invalid_json"
    """The value is not UTF-8 JSON. Dead letter, unless its custom_id can be read."""
    INVALID_REQUEST_LINE = "invalid_request_line"
    """JSON, but custom_id, url or body is missing or of the wrong type. Dead letter, unless its
    custom_id can be read."""
    REQUEST_TOO_LARGE = "request_too_large"
    """The value is over the route's ``max_request_bytes``, or its batch unpacks to too much. Dead
    letter."""
    READING_FAILED = "reading_failed"
    """Consumers ended, one after another, while they read the record. Dead letter."""
    REQUEST_EXPIRED = "request_expired"
    """The deadline in ``headrace-deadline`` passed before the answer was there; a generation under
    way is ended."""
    REQUEST_CANCELLED = "request_cancelled"
    """A control record asked to stop it before its answer was there."""
    STORE_FAILED = "store_failed"
    """The object store failed for ``claim_check.give_up_after_s`` on the body. Dead letter too."""
    RESULT_TOO_LARGE = "result_too_large"
    """The result is over what the results topic or the client takes; with status 400 where that is
    known before the model works."""
    RESULT_REFUSED = "result_refused"
    """The results topic, or the reply topic, refuses the result; the message names the setting.
    Dead letter too."""
    REPLY_TOPIC_MISSING = "reply_topic_missing"
    """There is no topic of the name in ``headrace-reply-topic``. On the route's results topic; dead
    letter too."""
    REPLY_TOPIC_UNAVAILABLE = "reply_topic_unavailable"
    """The topic in ``headrace-reply-topic`` takes nothing for long, or too much waits for such
    topics. On the route's results topic; dead letter too."""
    SKIPPED_BY_OPERATOR = "skipped_by_operator"
    """A person skipped the record by `headrace offsets skip`, so that the others go on. Dead letter
    too."""
    MODEL_FAILED = "model_failed"
    """The model failed on every attempt that the route allows, or would fail again. Dead letter
    too."""


class Response(BaseModel):
    """The endpoint's answer."""

    model_config = ConfigDict(extra="forbid")

    status_code: int = Field(
        description="HTTP status: 200, or 4xx where the endpoint refuses the body."
    )
    request_id: str = Field(description="The same as the line's id.")
    body: dict[str, Any] = Field(description="The endpoint's response body, or {'error': {...}}.")


class StoredResponse(BaseModel):
    """The endpoint's answer, where its body lies in an object store."""

    model_config = ConfigDict(extra="forbid")

    status_code: int = Field(description="As beside a body.")
    request_id: str = Field(description="The same as the line's id.")
    body_ref: BodyReference = Field(
        description="Where the endpoint's response body lies, as one JSON object."
    )


class ErrorInfo(BaseModel):
    """Why there is no response."""

    model_config = ConfigDict(extra="forbid")

    code: ErrorCode
    message: str


class ResultLine(BaseModel):
    """A result as readers get it: OpenAI's Batch output line. Exactly one of response and error."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(
        description="Derived from topic, partition and offset of the request: drop repeats by it."
    )
    custom_id: str = Field(description="The request's custom_id.")
    response: Response | StoredResponse | None
    error: ErrorInfo | None


def result_id(topic: str, partition: int, offset: int) -> str:
    """Return the result line's id, the same for every redelivery of a record."""
    return f"{topic}-{partition}-{offset}"


def encode_response_line(line_id: str, custom_id: str, status_code: int, body: bytes) -> bytes:
    return splice_response_line(orjson.dumps(line_id), custom_id, status_code, body)


def splice_response_line(quoted_id: bytes, custom_id: str, status_code: int, body: bytes) -> bytes:
    """Return a result line around a response body, both id and body as they stand in JSON.

    The body is spliced in unread: a page of floats is encoded once, in the model replica.
    """
    return b"".join(
        (
            b'{"id":', quoted_id,
            b',"custom_id":', orjson.dumps(custom_id),
            b',"response":{"status_code":%d,"request_id":' % status_code, quoted_id,
            b',"body":', body,
            b'},"error":null}',
        )
    )  # fmt: skip


def encode_stored_line(
    line_id: str, custom_id: str, status_code: int, reference: BodyReference
) -> bytes:
    return orjson.dumps(
        {
            "id": line_id,
            "custom_id": custom_id,
            "response": {
                "status_code": status_code,
                "request_id": line_id,
                "body_ref": reference.model_dump(),
            },
            "error": None,
        }
    )


def encode_error_line(line_id: str, custom_id: str, code: ErrorCode, message: str) -> bytes:
    return orjson.dumps(
        {
            "id": line_id,
            "custom_id": custom_id,
            "response": None,
            "error": {"code": code.value, "message": message},
        }
    )


def encode_refusal_body(message: str, code: str, param: str | None = None, **more: Any) -> bytes:
    """Return the ``response.body`` of a 4xx in OpenAI's shape; ``more`` goes into its error."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    try:
        return orjson.dumps({"error": {**error, **more}})
    except orjson.JSONEncodeError:
        # A value in it is nested too deep to be written.
        return orjson.dumps({"error": error})
