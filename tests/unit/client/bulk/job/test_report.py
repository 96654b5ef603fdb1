import io

import orjson
import pytest

from headrace_client.bulk.job.progress.display import JsonLines, PlainLines
from headrace_client.bulk.job.progress.report import Report, as_json, as_line, duration


def report(**values: object) -> Report:
    return Report(**{"job": "j", "state": "running", **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.4, "8 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min"), (273_600, "3 d 4 h")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_has_what_matters_and_nothing_that_is_not_there() -> None:
    assert as_line(report(rows_done=1_200)) == "1,200 rows, 0 rows/s"
    line = as_line(
        report(
            rows_done=1_200,
            rows_total=5_000,
            rows_per_s=812.4,
            tokens_per_s=9_000.0,
            rows_failed=3,
            eta_s=70.0,
            waits="reading the input",
        )
    )
    assert line == (
        "1,200 of 5,000 rows, 812 rows/s, 9,000 tokens/s, 3 failed, 1 min 10 s left, "
        "reading the input"
    )


def test_json_has_every_field_on_one_line_of_stdout() -> None:
    out, err = io.StringIO(), io.StringIO()
    with JsonLines(out, err) as display:
        display.say("a remark")
        display.show(report(rows_done=5))
    assert orjson.loads(out.getvalue()) == as_json(report(rows_done=5))
    assert err.getvalue() == "a remark\n"


def test_plain_lines_come_now_and_then_and_when_the_wait_changes() -> None:
    err = io.StringIO()
    with PlainLines(err, every_s=10.0) as display:
        display.show(report(elapsed_s=1.0))
        display.show(report(elapsed_s=2.0, waits="waiting for results of 5 requests, oldest 3 s"))
        display.show(report(elapsed_s=3.0, waits="waiting for results of 4 requests, oldest 4 s"))
        display.show(report(elapsed_s=11.0, waits="waiting for results of 4 requests, oldest 9 s"))
        display.show(report(elapsed_s=13.0, waits="waiting for results of 4 requests, oldest 9 s"))
    assert len(err.getvalue().splitlines()) == 2, err.getvalue()
