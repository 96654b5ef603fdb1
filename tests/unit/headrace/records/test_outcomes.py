"""What became of the records that were sent, and which records a reader wants."""

from typing import Any

import orjson
import pytest

from headrace.records.outcomes import Outcomes
from headrace.records.reading import TopicRecord
from headrace.records.selection import Selection, custom_id_of
from headrace_client.wire.names import Place


def result(offset: int, response: Any = None, error: Any = None, **headers: str) -> TopicRecord:
    line = {"id": f"in-0-{offset}", "custom_id": f"c{offset}", "response": response, "error": error}
    return record(offset, orjson.dumps(line), **headers)


def record(offset: int, value: bytes | None, **headers: str) -> TopicRecord:
    stamped = {"headrace_source": f"in/0/{offset}", **headers}
    return TopicRecord(
        topic="out",
        partition=1,
        offset=100 + offset,
        key=None,
        value=value,
        headers=tuple((name.replace("_", "-"), text.encode()) for name, text in stamped.items()),
        timestamp_ms=0,
    )


def letter(offset: int, code: str = "model_failed", value: bytes | None = b"x") -> TopicRecord:
    return record(offset, value, headrace_error_code=code, headrace_error_message="the model fell")


def awaiting(*offsets: int) -> Outcomes:
    outcomes = Outcomes()
    for offset in offsets:
        outcomes.await_place(Place("in", 0, offset))
    return outcomes


OK = {"status_code": 200, "request_id": "r", "body": {}}
REFUSED = {"status_code": 400, "body": {"error": {"code": "invalid_value", "message": "no"}}}


def test_each_record_counts_once_by_what_became_of_it() -> None:
    outcomes = awaiting(0, 1, 2, 3, 4, 5)

    answered = result(0, OK)
    assert outcomes.take(answered) == answered.value
    assert outcomes.take(answered) is None
    outcomes.take(result(1, REFUSED))
    outcomes.take(result(2, error={"code": "request_expired", "message": "late"}))
    outcomes.take(result(3, {"status_code": 404, "body_ref": {"url": "s3://x"}}))
    outcomes.take(record(4, b"[]"))

    assert outcomes.counts == {
        "answered": 1,
        "invalid_value": 1,
        "request_expired": 1,
        "404": 1,
        "no result line": 1,
    }
    assert (outcomes.awaited_records, outcomes.done_records, outcomes.failed_records) == (1, 5, 4)


def test_others_records_are_nobodys_outcome() -> None:
    outcomes = awaiting(0)

    assert outcomes.take(result(7, OK)) is None
    assert outcomes.take(record(0, b"{}", headrace_source="elsewhere/0/0")) is None
    assert (
        outcomes.take(record(0, b"{}", headrace_source="\udcff".encode(errors="replace").decode()))
        is None
    )
    assert outcomes.awaited_records == 1


@pytest.mark.parametrize("is_letter_first", [True, False])
def test_a_dead_letter_and_the_result_beside_it_are_one_outcome(is_letter_first: bool) -> None:
    outcomes = awaiting(3)
    beside = result(3, error={"code": "model_failed", "message": "the model fell"})
    dead = letter(3, value=b'{"custom_id": "c3", "url": "/v1/embeddings", "body": {}}')

    first, second = (dead, beside) if is_letter_first else (beside, dead)
    line = outcomes.take(first)

    assert line is not None
    assert orjson.loads(line) == orjson.loads(beside.value or b"")
    assert outcomes.take(second) is None
    assert outcomes.counts == {"model_failed": 1}


@pytest.mark.parametrize("value", [b"not json", b'{"custom_id": 7}', None])
def test_a_dead_letter_without_a_custom_id_is_an_outcome_too(value: bytes | None) -> None:
    outcomes = awaiting(3)

    line = orjson.loads(outcomes.take(letter(3, "invalid_json", value)) or b"")

    assert (line["id"], line["custom_id"]) == ("in-0-3", None)
    assert outcomes.awaited_records == 0


def test_a_selection_by_job_and_by_custom_id() -> None:
    records = [
        result(0, OK, headrace_job="a"),
        result(1, OK, headrace_job="b"),
        result(2, OK),
        letter(3, value=b'{"custom_id": "c3"}'),
        letter(4, value=None),
    ]

    def taken(selection: Selection) -> list[int]:
        return [each.offset - 100 for each in records if selection.takes(each)]

    assert taken(Selection()) == [0, 1, 2, 3, 4]
    assert taken(Selection(job="b")) == [1]
    assert taken(Selection(custom_ids=["c3", "c0"])) == [0, 3]
    assert taken(Selection(job="a", custom_ids=["c1"])) == []


def test_a_selection_of_unique_outcomes_leaves_repeats_out() -> None:
    selection = Selection(is_unique=True)
    foreign = record(0, b"{}", headrace_source="")

    assert [selection.takes(each) for each in (result(0, OK), result(0, OK), result(1, OK))] == [
        True,
        False,
        True,
    ]
    assert selection.takes(foreign)
    assert selection.takes(foreign)


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"custom_id": 7}', b"\xff", None])
def test_what_has_no_custom_id(value: bytes | None) -> None:
    assert custom_id_of(record(0, value)) is None


def test_a_record_that_nests_deep_has_no_custom_id() -> None:
    deep = b'{"custom_id":"c","response":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert custom_id_of(record(1, deep)) is None
