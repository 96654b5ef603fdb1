import orjson
import pytest

from schemas.wire.results import ErrorCode, encode_error_line, encode_response_line
from tests.chaos.checks.contents import Contents, Message, is_given_up
from tests.chaos.load.records import line
from tests.chaos.stage.model_replica import embed

AT = (2, 7)
ID = "requests-2-7"
ECHO = orjson.dumps({"echo": "a"})


def contents(**body: object) -> Contents:
    known = Contents("requests")
    assert known.request(AT, Message(b"k", line("a", **body))) == []
    return known


def result(
    *, line_id: str = ID, custom_id: str = "a", status: int = 200, body: bytes = ECHO
) -> Message:
    return Message(b"k", encode_response_line(line_id, custom_id, status, body))


def error(code: ErrorCode) -> Message:
    return Message(b"k", encode_error_line(ID, "a", code, "why"))


def test_outcomes_that_match_their_requests() -> None:
    assert contents(ms=3).result(AT, result()) is None
    assert contents(embed=3).result(AT, result(body=embed("a", 3))) is None
    assert contents(fail=True).result(AT, error(ErrorCode.MODEL_FAILED)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        result(line_id="requests-2-8"),
        result(line_id="others-2-7"),
        result(custom_id="b"),
        result(status=400),
        result(body=b'{"echo":"b"}'),
        result(body=embed("a", 3)),
        Message(b"other", result().value),
        error(ErrorCode.REQUEST_EXPIRED),
    ],
)
def test_a_result_that_does_not_match_its_request(wrong: Message) -> None:
    assert contents(ms=3).result(AT, wrong)


@pytest.mark.parametrize("body", [embed("b", 3), embed("a", 2), b'{"embedding":[]}', ECHO])
def test_an_embedding_of_another_request(body: bytes) -> None:
    assert contents(embed=3).result(AT, result(body=body))


@pytest.mark.parametrize("bad", [{"fail": True}, {"poison": True}])
def test_no_response_where_the_model_always_fails(bad: dict[str, bool]) -> None:
    assert contents(**bad).result(AT, result())


def test_an_outcome_read_before_its_request_is_compared_too() -> None:
    known = Contents("requests")
    assert known.result(AT, result(custom_id="b")) is None
    assert known.result(AT, result()) is None
    assert known.dead_letter(AT, Message(b"k", b"something else")) is None
    wrong = known.request(AT, Message(b"k", line("a", ms=3)))
    assert len(wrong) == 2
    assert known.request(AT, Message(b"k", line("a", ms=3))) == []


def test_a_dead_letter_is_the_request_untouched() -> None:
    known = Contents("requests")
    known.request(AT, Message(b"k", b"{"))
    assert known.dead_letter(AT, Message(b"k", b"{")) is None
    assert known.dead_letter(AT, Message(b"other", b"{"))
    assert known.dead_letter(AT, Message(b"k", b"{}"))


def test_a_model_failed_error_means_given_up() -> None:
    assert is_given_up(error(ErrorCode.MODEL_FAILED).value or b"")
    assert not is_given_up(error(ErrorCode.REQUEST_EXPIRED).value or b"")
    assert not is_given_up(result().value or b"")
