"""A fetched body in its request line: what is taken, what is refused, and what that costs."""

import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.bodies.bodies import splice_body

MIB = 1 << 20
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON))
def test_an_object_becomes_the_body_of_the_line(body: dict[str, object]) -> None:
    try:
        value = orjson.dumps(body)
    except orjson.JSONEncodeError:  # a lone surrogate
        return
    line = splice_body('a"1', "/v1/embeddings", value)
    assert line is not None
    assert orjson.loads(line) == {
        "custom_id": 'a"1',
        "method": "POST",
        "url": "/v1/embeddings",
        "body": orjson.loads(value),
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"a":1}}',
        b'{"a":1},"url":"/v1/other","x":{}',
        b'{"a":1} {}',
        b'{"a":NaN}',
        b'{"a":[1,]}',
        b'{"a":"\xff"}',
        b'{"\xff":1}',
        b'{"a":"' + "é".encode()[:1] + b'"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\x01"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' + 100_000 * b"[" + 100_000 * b"]" + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    assert splice_body("a", "/v1/embeddings", body) is None


def test_text_is_checked_across_the_pieces_that_it_is_checked_in() -> None:
    for shift in range(4):
        body = b'{"a":"' + shift * b"x" + "🙂".encode() * (MIB // 2) + b'"}'
        assert splice_body("a", "/v1/embeddings", body) is not None
        assert splice_body("a", "/v1/embeddings", body.replace(b"\x82", b"x", 1)) is None


def test_a_large_body_is_not_built_in_memory() -> None:
    body = b'{"input":[' + b",".join([b"0.1234"] * 600_000) + b"]}"
    tracemalloc.start()
    try:
        line = splice_body("a", "/v1/embeddings", body)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert line is not None
    assert peak_bytes < len(line) + MIB // 4
