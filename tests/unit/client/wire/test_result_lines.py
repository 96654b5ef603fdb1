"""Results as the service writes them are read as they are meant."""

import orjson
import pytest
from jsonschema import Draft202012Validator

from headrace.cli.records.schema import build
from headrace_client.errors import (
    RequestCancelledError,
    RequestExpiredError,
    RequestFailedError,
    RequestRefusedError,
    UnreadableResultError,
)
from headrace_client.wire.names import Place
from headrace_client.wire.results import parse_dead_letter, parse_result
from schemas.wire.references import BodyReference
from schemas.wire.results import (
    ErrorCode,
    encode_error_line,
    encode_refusal_body,
    encode_response_line,
    encode_stored_line,
    result_id,
)

ID = result_id("my-topic-2", 3, 41)


def check(value: bytes) -> None:
    Draft202012Validator(build("result", None)).validate(orjson.loads(value))


def test_a_response() -> None:
    value = encode_response_line(ID, "a", 200, b'{"data":[]}')
    check(value)

    result = parse_result(value, (("headrace-model", b"m"),))
    assert result.is_ok
    assert result.to_error() is None
    assert (result.custom_id, result.body) == ("a", {"data": []})
    assert result.source == Place("my-topic-2", 3, 41)
    assert result.header("headrace-model") == "m"
    assert result.header("other") is None


def test_a_refusal_names_the_field() -> None:
    body = encode_refusal_body("input: must not be empty", "invalid_value", "input")
    value = encode_response_line(ID, "a", 400, body)
    check(value)

    error = parse_result(value).to_error()
    assert isinstance(error, RequestRefusedError)
    assert str(error) == "input: must not be empty"
    assert (error.status_code, error.code, error.param) == (400, "invalid_value", "input")
    assert (error.custom_id, error.result_id) == ("a", ID)
    assert error.body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.REQUEST_EXPIRED, RequestExpiredError),
        (ErrorCode.REQUEST_CANCELLED, RequestCancelledError),
        *(
            (code, RequestFailedError)
            for code in ErrorCode
            if code not in {ErrorCode.REQUEST_EXPIRED, ErrorCode.REQUEST_CANCELLED}
        ),
    ],
)
def test_every_error_is_raised_with_its_code(code: ErrorCode, kind: type[Exception]) -> None:
    value = encode_error_line(ID, "a", code, "because")
    check(value)

    error = parse_result(value).to_error()
    assert type(error) is kind
    assert str(error) == f"{code}: because"
    assert error is not None
    assert error.code == code


def test_an_expired_request_is_a_timeout() -> None:
    assert issubclass(RequestExpiredError, TimeoutError)


def test_a_body_in_a_store() -> None:
    reference = BodyReference(url="file:///b", size_bytes=2, sha256="0" * 64)
    result = parse_result(encode_stored_line(ID, "a", 200, reference))

    assert result.body_ref == reference.model_dump()
    assert result.body == {}


@pytest.mark.parametrize("value", [None, b"", b"[]", b"7", b'{"id":1}', b'{"id":"x","error":{}}'])
def test_what_is_no_result_is_told(value: bytes | None) -> None:
    with pytest.raises(UnreadableResultError):
        parse_result(value)


@pytest.mark.parametrize("line_id", ["a", "a-1", "a-b-c", "-1-2", "a-1-"])
def test_an_id_that_names_no_place_is_told(line_id: str) -> None:
    result = parse_result(encode_response_line(line_id, "a", 200, b"{}"))

    with pytest.raises(UnreadableResultError):
        _ = result.source


def test_a_dead_letter_is_read_as_the_result_that_its_route_leaves_out() -> None:
    headers = (
        ("headrace-error-code", b"model_failed"),
        ("headrace-error-message", b"out of memory"),
        ("headrace-source", b"my-topic-2/3/41"),
    )
    result = parse_dead_letter(b'{"custom_id":"a","url":"/u"}', headers)

    assert (result.id, result.custom_id) == (ID, "a")
    assert str(result.to_error()) == "model_failed: out of memory"
    with pytest.raises(UnreadableResultError):
        parse_dead_letter(b"not json", headers)
    with pytest.raises(UnreadableResultError):
        parse_dead_letter(b'{"custom_id":"a"}', ())
