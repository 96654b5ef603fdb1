"""Whose request a value is, and what is wrong with it."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.wire.requests import (
    MAX_ECHOED_ID_CHARACTERS,
    RequestLine,
    UnreadableRequestError,
    leading_custom_id,
    parse_request_line,
    plain_fields,
)

REST = b'"url":"/v1/embeddings","body":{}}'


def refusal(value: bytes) -> UnreadableRequestError:
    with pytest.raises(UnreadableRequestError) as caught:
        parse_request_line(value)
    return caught.value


@pytest.mark.parametrize("method", ["POST", "post", "Post", None])
def test_post_is_post_in_any_case(method: str | None) -> None:
    value: dict[str, object] = {"custom_id": "a", "method": method, "url": "/v1", "body": {}}
    assert isinstance(parse_request_line(orjson.dumps(value)), RequestLine)


@pytest.mark.parametrize(
    ("value", "custom_id", "field"),
    [
        (b'{"custom_id":"a","url":"/v1/embeddings"}', "a", "body"),
        (b'{"custom_id":"a","url":"/v1/embeddings","body":null}', "a", "body"),
        (b'{"custom_id":"a","url":"/v1/embeddings","body":"{}"}', "a", "body"),
        (b'{"custom_id":"a","url":"/v1/embeddings","body":[]}', "a", "body"),
        (b'{"custom_id":"a","url":7,"body":{}}', "a", "url"),
        (b'{"custom_id":"a","body":{}}', "a", "url"),
        (b'{"custom_id":"a","method":"get",' + REST, "a", "method"),
        (b'{"custom_id":"a","method":7,' + REST, "a", "method"),
        (b'{"custom_id":"a","body_ref":"s3://b/k",' + REST, "a", "body"),
        (b'{"custom_id":"a","url":"/v1/embeddings","body_ref":{"url":7}}', "a", "body_ref"),
        (b'{"custom_id":"a","custom_id":"b","url":"/v1/embeddings"}', "b", "body"),
        (b'{"custom_id":"\\u0000\\u00e9","url":"/v1/embeddings"}', "\0é", "body"),
        (b'{"custom_id":7,' + REST, "7", "custom_id"),
        (b'{"custom_id":-7.50,' + REST, "-7.50", "custom_id"),
        (b'{"custom_id":123456789012345678901234567890,' + REST, "123456789012345678901234567890",
         "custom_id"),
        (b'{"custom_id":"' + b"x" * 513 + b'",' + REST, "x" * 513, "custom_id"),
    ],
)  # fmt: skip
def test_a_line_whose_id_can_be_read_is_refused_by_its_field(
    value: bytes, custom_id: str, field: str
) -> None:
    error = refusal(value)
    assert (error.code, error.custom_id) == ("invalid_request_line", custom_id)
    assert error.field == field
    assert str(error).startswith(field)


@pytest.mark.parametrize(
    "body",
    [b'{"input":NaN}', b'{"input":"cut \\ud83d"}', b'{"input":"caf\xe9"}', b'{"dimensions":1e400}'],
)
def test_a_body_that_is_no_json_does_not_hide_whose_it_is(body: bytes) -> None:
    error = refusal(b'{"custom_id":"a","url":"/v1/embeddings","body":' + body + b"}")
    assert (error.code, error.custom_id) == ("invalid_json", "a")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"null",
        b'"{\\"custom_id\\":\\"a\\"}"',
        b'{"custom_id":"a"',
        b"[" * 5_000,
        b"{" + REST[1:],
        b'{"custom_id":"",' + REST,
        b'{"custom_id":null,' + REST,
        b'{"custom_id":true,' + REST,
        b'{"custom_id":["a"],' + REST,
        b'{"custom_id":NaN,' + REST,
        b'{"custom_id":"\\ud800",' + REST,
        b'{"custom_id":"caf\xe9",' + REST,
        b'{"custom_id":"' + b"x" * (MAX_ECHOED_ID_CHARACTERS + 1) + b'",' + REST,
    ],
)
def test_what_has_no_id_has_nobody_to_be_told(value: bytes) -> None:
    assert refusal(value).custom_id is None


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), 1 << 63)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
_LINES = st.fixed_dictionaries(
    {},
    optional={
        "custom_id": st.text(max_size=514) | _JSON,
        "method": st.sampled_from(["POST", "post", "GET", None]) | _JSON,
        "url": st.text(max_size=258) | _JSON,
        "body": st.dictionaries(st.text(max_size=3), _JSON) | _JSON,
        "body_ref": st.just({"url": "s3://b/o"}) | _JSON,
        "more": _JSON,
    },
)


@given(_LINES, st.binary(max_size=3), st.integers(0, 1 << 16))
def test_what_is_right_at_first_sight_is_right_at_the_second(
    line: dict[str, object], noise: bytes, place: int
) -> None:
    value = orjson.dumps(line)
    place %= len(value)
    for each in (value, value[:place] + noise + value[place:]):
        fields = plain_fields(each)
        if fields is not None:
            read = parse_request_line(each)
            assert isinstance(read, RequestLine)
            assert (read.custom_id, read.url, read.body) == fields


@pytest.mark.parametrize(
    ("body", "is_json"),
    [(b"1e999", False), (b"NaN", False), (b'"\xff"', False), (b"[" * 1100, False), (b"1e-9", True)],
)
def test_what_no_json_has_is_not_right_at_first_sight(body: bytes, is_json: bool) -> None:
    closed = body + b"]" * body.count(b"[")
    value = b'{"custom_id":"a","url":"/v1/x","body":{"n":' + closed + b"}}"
    assert (plain_fields(value) is not None) is is_json


@given(st.binary() | st.recursive(st.none(), st.lists).map(orjson.dumps))
def test_any_value_is_read_or_refused(value: bytes) -> None:
    leading_custom_id(value)
    refusal(value)


@pytest.mark.parametrize(
    ("head", "custom_id"),
    [
        (b'{"custom_id":"a","url":', "a"),
        (b' {\n "custom_id" : "a\\"b\\u00e9" ,', 'a"bé'),
        (b'{"method":"POST","url":"/v1/embeddings","custom_id":12e3,', "12e3"),
        (b'\0\0\0\0\x07{"custom_id":"a",', "a"),
        (b'\xef\xbb\xbf{"custom_id":"a",', "a"),
        (b'{"body":{"custom_id":"a"},', None),
        (b'{"custom_id":{"custom_id":"a"},', None),
        (b'{"custom_id":"' + b"x" * 100_000 + b'",', None),
        (b'{"custom_id":"a', None),
        (b"\xff\xfe", None),
    ],
)
def test_the_id_at_the_head_of_a_value_too_large_to_parse(
    head: bytes, custom_id: str | None
) -> None:
    assert leading_custom_id(head + b'"x') == custom_id
