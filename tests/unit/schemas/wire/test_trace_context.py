"""W3C's headers are read as the recommendation says, and malformed ones count as absent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.wire.headers import Headers
from schemas.wire.trace_context import (
    encode_traceparent,
    parse_trace_context,
    read_trace_context,
    with_trace_context,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def test_a_traceparent_is_read() -> None:
    context = read_trace_context([("traceparent", PARENT), ("tracestate", b"a=1,b=2")])

    assert context is not None
    assert (context.trace_id, context.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert context.is_sampled
    assert context.state() == "a=1,b=2"


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("03", True)])
def test_the_flag_says_whether_it_is_sampled(flags: str, is_sampled: bool) -> None:
    context = parse_trace_context(f"00-{TRACE}-{SPAN}-{flags}".encode())

    assert context is not None
    assert context.is_sampled is is_sampled


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        PARENT[:-1],
        PARENT.upper(),
        PARENT + b"-more",
        b"ff" + PARENT[2:],
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        PARENT.replace(b"-", b"_"),
        b"\xff" * 55,
        PARENT + b"\n",
    ],
)
def test_a_malformed_one_counts_as_absent(value: bytes) -> None:
    assert read_trace_context([("traceparent", value)]) is None


def test_later_versions_may_say_more() -> None:
    assert parse_trace_context(b"01" + PARENT[2:] + b"-more") is not None


def test_the_last_header_of_a_name_counts() -> None:
    other = PARENT.replace(b"b7ad", b"0001")
    context = read_trace_context([("traceparent", PARENT), ("traceparent", other)])

    assert context is not None
    assert f"{context.span_id:016x}".startswith("0001")


@pytest.mark.parametrize(
    "state", [b"", b"a", b"A=1", b"a=\xff", b"a=1,=2", b"a=" + b"x" * 600, b"a=1\n"]
)
def test_a_malformed_tracestate_is_left_out(state: bytes) -> None:
    context = parse_trace_context(PARENT, state)

    assert context is not None
    assert context.state() == ""


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1))
def test_what_is_written_is_read(trace_id: int, span_id: int) -> None:
    context = parse_trace_context(encode_traceparent(trace_id, span_id).encode())

    assert context == (trace_id, span_id, True, None)


@given(st.binary(max_size=80), st.binary(max_size=700))
def test_nothing_raises(parent: bytes, state: bytes) -> None:
    context = read_trace_context([("traceparent", parent), ("tracestate", state)])

    assert context is None or isinstance(context.state(), str)


def test_headers_name_one_context() -> None:
    headers: Headers = [("traceparent", b"old"), ("mine", b"1"), ("tracestate", b"a=1")]

    assert with_trace_context(headers, 1, 2, "") == [
        ("mine", b"1"),
        ("traceparent", b"00-" + b"0" * 31 + b"1-" + b"0" * 15 + b"2-01"),
    ]
    assert with_trace_context([], 1, 2, "b=2")[1:] == [("tracestate", b"b=2")]
