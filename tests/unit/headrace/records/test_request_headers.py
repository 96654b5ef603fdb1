"""The headers that a command line gives to requests."""

from typing import Any

import pytest

from headrace.errors import UserError
from headrace.records.request_headers import request_headers
from schemas.wire.headers import Headers


def made(**given: Any) -> Headers:
    options = {"job": None, "deadline_ms": None, "weight": None, "reply_topic": None, "others": ()}
    return request_headers(**{**options, **given})


def test_none_are_given_where_none_is_asked_for() -> None:
    assert made() == []


def test_each_option_is_a_header() -> None:
    given = made(
        job="nightly",
        deadline_ms=17,
        weight=3,
        reply_topic="replies.a",
        others=["x-trace=a=b", "headrace-tenant=shöp", "empty="],
    )

    assert given == [
        ("headrace-job", b"nightly"),
        ("headrace-deadline", b"17"),
        ("headrace-job-weight", b"3"),
        ("headrace-reply-topic", b"replies.a"),
        ("x-trace", b"a=b"),
        ("headrace-tenant", "shöp".encode()),
        ("empty", b""),
    ]


def test_a_trace_to_continue_is_a_header() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    assert made(traceparent=parent) == [("traceparent", parent.encode())]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"job": ""}, "--job: a name has 1 to 512 characters, not 0"),
        ({"job": "x" * 513}, "--job: a name has 1 to 512 characters, not 513"),
        ({"others": ["tenant"]}, "--header: 'tenant' is not NAME=VALUE"),
        ({"others": ["=x"]}, "--header: '=x' is not NAME=VALUE"),
        ({"others": ["headrace-tennant=x"]}, "did you mean 'headrace-tenant'?"),
        ({"others": ["headrace-source=x"]}, "headrace-source is not a request's"),
        ({"others": ["a=1", "a=2"]}, "--header: a is given twice; only the last would count"),
        ({"job": "a", "others": ["headrace-job=b"]}, "given twice, which --job sets too"),
        ({"traceparent": "0af7"}, "--traceparent: '0af7' is no W3C trace context, e.g. 00-"),
    ],
)
def test_what_cannot_be_a_header_names_the_option(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError) as caught:
        made(**given)

    assert problem in str(caught.value)
