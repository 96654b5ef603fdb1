"""The published records: sizes, and the same every time."""

import orjson
import pytest

from benchmarks.models import noop_body
from benchmarks.workloads import (
    embedding_lines,
    first_come_first_served_s,
    lognormal_texts,
    noop_lines,
    request_headers,
    sleep_lines,
    uneven_sleep_ms,
)
from schemas.wire import headers
from schemas.wire.requests import parse_request_line


def test_noop_records_have_the_size_that_was_asked_for() -> None:
    lines = list(noop_lines(3))

    assert [len(line) for line in lines] == [494] * 3
    assert [parse_request_line(line).custom_id for line in lines] == [
        "00000000",
        "00000001",
        "00000002",
    ]


def test_headers_have_the_size_that_is_told_beside_a_deadline() -> None:
    (name, deadline), *others = request_headers(1_800_000_000_000)

    assert (name, deadline) == (headers.DEADLINE, b"1800000000000")
    assert sum(len(name) + len(value) for name, value in others) == pytest.approx(1_000, abs=10)


def test_a_record_cannot_be_smaller_than_its_frame() -> None:
    with pytest.raises(ValueError, match="at least"):
        next(noop_lines(1, size_bytes=20))


def test_noop_bodies_are_json_of_the_size_that_was_asked_for() -> None:
    bodies = [noop_body(number, 300) for number in (0, 99)]

    assert [len(body) for body in bodies] == [300, 300]
    assert orjson.loads(bodies[1])["n"].endswith(".99")
    assert bodies[0] != bodies[1]


def test_the_uneven_records_are_those_that_others_were_measured_on() -> None:
    sleeps_ms = [uneven_sleep_ms(number) for number in range(20_000)]

    assert sleeps_ms.count(2000) == 185
    assert sum(sleeps_ms) / 256 / 1000 == pytest.approx(3.202, abs=0.001)


def test_sleeps_and_texts_travel_in_the_body() -> None:
    [sleep] = sleep_lines([12])
    [text] = embedding_lines(["hello"])

    assert parse_request_line(sleep).body == {"ms": 12}
    assert parse_request_line(text).body == {"input": "hello"}
    assert parse_request_line(text).url == "/v1/embeddings"


def test_texts_are_of_uneven_length_and_the_same_on_every_run() -> None:
    texts = lognormal_texts(200)
    words = sorted(len(text.split()) for text in texts)

    assert texts == lognormal_texts(200)
    assert words[0] >= 3
    assert words[-1] <= 250
    assert words[-1] > 4 * words[100]


def test_the_last_long_sleep_decides_when_all_are_done_in_order() -> None:
    assert first_come_first_served_s([1000, 1000, 1000, 1000], slots=2) == 1.0
    assert first_come_first_served_s([10, 10, 10, 2000], slots=2) == pytest.approx(2.0)
    assert first_come_first_served_s([2000, 10, 10, 10], slots=2) == pytest.approx(1.99)
