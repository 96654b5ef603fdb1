"""What the client writes is what the service's schemas and its own parser accept."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from headrace.cli.records.schema import build
from headrace_client import BadLineError
from headrace_client.wire import names
from headrace_client.wire.requests import (
    cancel_job,
    cancel_request,
    encode_request,
    read_request,
    request_headers,
)
from schemas.wire import headers
from schemas.wire.control import parse_control_record
from schemas.wire.requests import plain_fields

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(build(name, None))


@given(st.text(min_size=1, max_size=512), st.dictionaries(st.text(), JSON))
def test_a_request_is_valid(custom_id: str, body: dict[str, Any]) -> None:
    value = encode_request(custom_id, names.EMBEDDINGS_URL, body)

    validator("request").validate(orjson.loads(value))
    assert plain_fields(value) == (custom_id, names.EMBEDDINGS_URL, body)


def test_headers_are_valid() -> None:
    written = request_headers(
        deadline_ms=1_795_000_000_000,
        job="nightly",
        job_weight=3,
        tenant="t",
        priority="low",
        reply_topic="mine",
        more={"traceparent": "00-1-2-01"},
    )

    found = {name: (value or b"").decode() for name, value in written}
    validator("request-headers").validate(found)
    assert headers.read_deadline_ms(written) == 1_795_000_000_000
    assert found[headers.JOB] == "nightly"
    assert found["headrace-reply-topic"] == "mine"
    assert request_headers() == ()


@pytest.mark.parametrize(
    ("control", "field"),
    [(cancel_request("chat", "c-1"), "custom_id"), (cancel_job("chat", "nightly"), "job")],
)
def test_a_control_record_is_valid(control: Any, field: str) -> None:
    validator("control").validate(orjson.loads(control.value))

    read = parse_control_record(control.value)
    assert (read.route, getattr(read, field)) == ("chat", control.key.decode().split(" ")[-1])
    assert read.key == control.key


def test_lines_of_the_user_are_taken_as_they_are() -> None:
    line = b'{"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "x"}, "more": 1}'

    read = read_request(line, 1, "unused")
    assert (read.custom_id, read.url, orjson.loads(read.value)) == (
        "a",
        "/v1/embeddings",
        orjson.loads(line),
    )
    assert read_request({"url": "/u", "body": {}}, 3, "job-3").custom_id == "job-3"
    reference = {"custom_id": "a", "url": "/u", "body_ref": {"url": "s3://b/k"}}
    assert orjson.loads(read_request(reference, 1, "").value) == reference


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{nonsense", "line 7 is not JSON"),
        (b"[1]", "line 7 is not a JSON object"),
        ({"custom_id": 5, "url": "/u", "body": {}}, "line 7: custom_id must be text"),
        ({"custom_id": "x" * 513, "url": "/u", "body": {}}, "line 7: custom_id must be text"),
        ({"custom_id": "a", "body": {}}, r"line 7 \(a\): url must name an endpoint"),
        ({"custom_id": "a", "url": "/u"}, r"line 7 \(a\): body must be a JSON object"),
        ({"custom_id": "a", "url": "/u", "body": {"x": object()}}, r"line 7 \(a\) is not JSON"),
    ],
)
def test_a_wrong_line_is_named(line: Any, message: str) -> None:
    with pytest.raises(BadLineError, match=message):
        read_request(line, 7, "default")


def test_a_body_that_is_not_json_is_named() -> None:
    with pytest.raises(BadLineError, match="request c-1: the body cannot be written as JSON"):
        encode_request("c-1", "/u", {"x": {1, 2}})
