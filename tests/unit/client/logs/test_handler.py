"""What a handler writes: fields, classes and places, and how much was left out."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace_client.logs.forms import JsonFormatter
from headrace_client.logs.handler import EventHandler, fields_of, places_of
from headrace_client.logs.limits import LineLimits
from headrace_client.logs.redacting import Redactor

PAYLOAD = "a text that nobody may read"


class Log:
    def __init__(self, **limits: Any) -> None:
        self.now_s = 0.0
        self.records: list[logging.LogRecord] = []
        self.handler = EventHandler(
            self.records.append,
            redact=Redactor(["hunter2"]),
            monotonic_s=lambda: self.now_s,
            limits=LineLimits(**limits),
        )
        self.logger = logging.getLogger("tests.unit.logs")
        self.logger.propagate = False
        self.logger.setLevel("DEBUG")
        self.logger.handlers = [self.handler]

    def lines(self) -> list[dict[str, Any]]:
        formatter = JsonFormatter()
        return [json.loads(formatter.format(each)) for each in self.records]


@pytest.fixture
def make_log() -> Iterator[Callable[..., Log]]:
    made: list[Log] = []

    def make(**limits: Any) -> Log:
        made.append(Log(**limits))
        return made[-1]

    yield make
    logging.getLogger("tests.unit.logs").handlers = []


def test_a_line_has_the_event_and_its_fields(make_log: Callable[..., Log]) -> None:
    log = make_log()
    log.logger.warning(
        "commit refused: %s", "moved on", extra={"event": "commit_refused", "partitions": 3}
    )

    [line] = log.lines()
    assert line["message"] == "commit refused: moved on"
    assert line["levelname"] == "WARNING"
    assert (line["event"], line["partitions"]) == ("commit_refused", 3)
    assert line["logger"] == "tests.unit.logs"
    assert {"asctime", "process", "timestamp_ns"} < line.keys()


def _fail() -> None:
    raise KeyError(PAYLOAD)


def test_an_exception_is_classes_and_places_without_messages(make_log: Callable[..., Log]) -> None:
    log = make_log()
    try:
        try:
            _fail()
        except KeyError as error:
            raise ValueError(PAYLOAD) from error
    except ValueError:
        log.logger.exception("the model failed on a record", extra={"event": "x"})

    [record] = log.records
    [line] = log.lines()
    plain = logging.Formatter("%(message)s").format(record)
    for text in (plain, json.dumps(line)):
        assert PAYLOAD not in text
        assert "builtins.ValueError" in text
        assert "builtins.KeyError" in text
        assert "test_an_exception_is_classes" in text
    assert line["error_class"] == "ValueError"


def test_a_chain_of_exceptions_that_goes_round_ends() -> None:
    first, second = ValueError(PAYLOAD), KeyError(PAYLOAD)
    first.__context__, second.__context__ = second, first

    assert places_of(first) == "builtins.ValueError\nbuiltins.KeyError"


def test_what_is_left_out_is_told_with_the_next_line(make_log: Callable[..., Log]) -> None:
    log = make_log(burst=2, refill_s=1e9)
    for number in range(100):
        log.logger.warning(
            "%d dead letters", number, extra={"event": "dead", "topic": "t", "records": 10}
        )
    log.now_s = 61.0
    log.logger.info("something else", extra={"event": "other"})

    *_, summary, other = log.lines()
    assert len(log.records) == 4
    assert summary["message"] == "2 dead letters (and 980 more like it in the last 61 s)"
    assert (summary["more"], summary["within_s"], summary["event"]) == (980, 61, "dead")
    assert summary["levelname"] == "WARNING"
    assert other["event"] == "other"


def test_it_is_told_without_another_line_too(make_log: Callable[..., Log]) -> None:
    log = make_log(burst=1)
    for _ in range(3):
        log.logger.info("again", extra={"event": "x"})

    log.now_s = 59.0
    log.handler.report_left_out()
    assert len(log.records) == 1
    log.now_s = 60.0
    log.handler.report_left_out()
    log.handler.report_left_out()
    assert [each.getMessage() for each in log.records] == [
        "again",
        "again (and 2 more like it in the last 60 s)",
    ]


def test_the_end_tells_what_was_left_out(make_log: Callable[..., Log]) -> None:
    log = make_log(burst=1)
    log.logger.info("again", extra={"event": "x"})
    log.logger.info("again", extra={"event": "x"})
    log.handler.close()

    assert log.records[-1].more == 1  # type: ignore[attr-defined]


def test_topics_by_the_thousand_do_not_fill_the_log_or_the_memory(
    make_log: Callable[..., Log],
) -> None:
    log = make_log(burst=2, most_kinds=16)
    for number in range(10_000):
        log.logger.warning("refused", extra={"event": "refused", "topic": f"t{number}"})

    assert len(log.records) == 18
    assert len(log.handler._last) == 1


def test_lines_of_libraries_are_limited_by_their_template(make_log: Callable[..., Log]) -> None:
    log = make_log(burst=3)
    for number in range(50):
        log.logger.error("broker %s is gone", number)

    assert len(log.records) == 3


def test_values_are_bounded_clean_and_json(make_log: Callable[..., Log]) -> None:
    log = make_log()
    log.logger.info(
        "x" * 9000,
        extra={
            "custom_id": "evil\nERROR forged hunter2" * 500,
            "topics": [f"t{number}" for number in range(100)],
            "thing": {"password": "hunter2"},
            "count": 3,
            "none": None,
        },
    )

    [line] = log.lines()
    assert len(line["message"]) == 2000
    assert len(line["custom_id"]) <= 1500
    assert "\n" not in line["custom_id"]
    assert "hunter2" not in json.dumps(line)
    assert (len(line["topics"]), line["count"], line["none"]) == (20, 3, None)


def test_arguments_that_do_not_fit_cost_no_more_than_the_line(make_log: Callable[..., Log]) -> None:
    log = make_log()
    log.logger.info(*("%d of %d", "one"))

    assert log.lines()[0]["message"] == "%d of %d (its arguments do not fit)"


def test_the_record_of_other_handlers_stays_as_it_was(make_log: Callable[..., Log]) -> None:
    log = make_log()
    seen: list[logging.LogRecord] = []
    other = logging.Handler()
    other.emit = seen.append  # type: ignore[method-assign, assignment]
    log.logger.handlers.append(other)
    log.logger.info("the password is %s", "hunter2", extra={"event": "x"})

    assert seen[0].getMessage() == "the password is hunter2"
    assert fields_of(seen[0]) == {"event": "x"}


def test_no_action_hides_behind_others(make_log: Callable[..., Log]) -> None:
    log = make_log(burst=1)
    for number in range(50):
        extra = {"event": "console_acts", "action": "pause", "client": "::1", "job": f"j{number}"}
        log.logger.info("acts hunter2", extra=extra)
    assert [each["job"] for each in log.lines()] == [f"j{number}" for number in range(50)]
    assert "hunter2" not in str(log.lines())


def test_clients_do_not_hide_behind_another(make_log: Callable[..., Log]) -> None:
    log = make_log(burst=2)
    for client in ("10.0.0.1", "10.0.0.2"):
        for _ in range(20):
            log.logger.warning("x", extra={"event": "console_token_wrong", "client": client})
    assert [each["client"] for each in log.lines()] == ["10.0.0.1"] * 2 + ["10.0.0.2"] * 2
