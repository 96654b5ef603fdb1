"""The headers by which jobs share a route."""

import pytest
from jsonschema import Draft202012Validator

from schemas.asyncapi import json_schema
from schemas.wire.headers import JOB, JOB_WEIGHT, NO_JOB, echo, read_job

VALIDATOR = Draft202012Validator(json_schema("request-headers"))


@pytest.mark.parametrize(
    ("value", "weight"),
    [
        *((f"{legal}".encode(), legal) for legal in (1, 9, 10, 99, 100)),
        *((value, 1) for value in (b"0", b"101", b"-1", b"+2", b"2.0", b"02", b" 2", b"", b"\xff")),
        *((value, 1) for value in ("٣".encode(), b"1" * 5_000)),
    ],
)
def test_a_weight_is_read_as_it_is_published(value: bytes, weight: int) -> None:
    assert read_job([(JOB, b"j"), (JOB_WEIGHT, value)]) == (b"j", weight)
    is_legal = VALIDATOR.is_valid({JOB_WEIGHT: value.decode(errors="replace")})
    assert is_legal is (weight != 1 or value == b"1")


def test_without_a_name_there_is_no_job_and_no_weight() -> None:
    assert read_job([]) == NO_JOB == (b"", 1)
    assert read_job([(JOB_WEIGHT, b"7")]) == NO_JOB
    assert read_job([(JOB, b""), (JOB_WEIGHT, b"7")]) == NO_JOB
    assert read_job([(JOB, None)]) == NO_JOB
    assert read_job([(JOB, b"j"), (JOB_WEIGHT, None)]) == (b"j", 1)


def test_of_several_headers_the_last_counts() -> None:
    assert read_job([(JOB, b"a"), (JOB_WEIGHT, b"2"), (JOB, b"b"), (JOB_WEIGHT, b"3")]) == (b"b", 3)


def test_the_result_has_the_job_and_not_its_weight() -> None:
    assert echo([(JOB, b"j"), (JOB_WEIGHT, b"2")]) == [(JOB, b"j")]
