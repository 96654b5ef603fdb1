"""A header without a value is shown as one, and costs no command its output."""

from rich.console import Console

from headrace.cli.dlq.output import letter_page
from headrace.cli.records.results import describe_dead_letter
from headrace.dead_letters.letter import read_letter
from headrace.records.reading import TopicRecord
from schemas.wire.deadletters import Failure, replayed_headers, split_headers

LETTER = TopicRecord(
    topic="dead",
    partition=0,
    offset=1,
    key=b"k",
    value=b"{}",
    headers=(
        ("own", None),
        ("headrace-source", b"in/0/7"),
        ("headrace-route", b"r"),
        ("headrace-error-code", b"model_failed"),
        ("headrace-error-message", b"why"),
        ("headrace-attempts", b"1"),
        ("headrace-failed-at", b"5"),
    ),
    timestamp_ms=0,
)


def test_results_show_it_as_null() -> None:
    assert LETTER.to_dict()["headers"]["own"] is None
    assert describe_dead_letter(LETTER) == ("k", "model_failed", "why")


def test_a_dead_letter_with_one_is_read_shown_and_replayed_with_it() -> None:
    letter = read_letter(LETTER)
    assert letter is not None
    console = Console(width=100, record=True)
    console.print(letter_page(letter, now_ms=10, max_value_characters=100))
    assert "null" in console.export_text()
    own, _ = split_headers(LETTER.headers)
    failure = Failure(error_code="model_failed", source="in/0/7", failed_at=5)
    assert replayed_headers(own, failure)[0] == ("own", None)
