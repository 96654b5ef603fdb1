"""A bulk job as a log: progress now and then, and each change; chosen by the settings."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace_client.bulk.job.progress.display import JsonLines, PlainLines
from headrace_client.bulk.job.progress.log_lines import LogLines
from headrace_client.bulk.job.progress.report import Report
from headrace_client.cli.job_logs import choose
from headrace_client.logs.forms import OWN_LOGGERS


@pytest.fixture(autouse=True)
def own_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("HEADRACE_LOGGING__FORMAT", raising=False)
    root, library = logging.getLogger(), logging.getLogger("headrace_client")
    handlers, kept = list(root.handlers), list(library.handlers)
    levels = {name: logging.getLogger(name).level for name in OWN_LOGGERS}
    yield
    root.handlers, library.handlers = handlers, kept
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_progress_comes_now_and_then_and_with_each_change(
    caplog: pytest.LogCaptureFixture,
) -> None:
    display = LogLines(every_s=10.0)
    with caplog.at_level("INFO"), display:
        for second in range(25):
            waits = "a broker" if second in {13, 14} else None
            display.show(
                Report(
                    job="j", state="running", elapsed_s=float(second), rows_done=second, waits=waits
                )
            )
        display.show(Report(job="j", state="done", elapsed_s=25.0, rows_done=25))
        display.say("25 rows in out.parquet")

    told = [getattr(each, "rows_done", None) for each in caplog.records]
    assert told == [0, 10, 13, 15, 25, None]
    assert {each.event for each in caplog.records} == {"job_progress", "job_step"}  # type: ignore[attr-defined]


def test_the_settings_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, as_json = tmp_path / "plain.yaml", tmp_path / "json.yaml"
    plain.write_text("kafka: {}\n")
    as_json.write_text("kafka: {}\nlogging: {format: json}\n")

    assert isinstance(choose(plain, as_json=False), PlainLines)
    assert isinstance(choose(plain, as_json=True), JsonLines)
    assert isinstance(choose(as_json, as_json=False), LogLines)
    monkeypatch.setenv("HEADRACE_LOGGING__FORMAT", "json")
    assert isinstance(choose(plain, as_json=False), LogLines)
    capsys.readouterr()


def test_reports_for_programs_stay_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "headrace.yaml"
    file.write_text("logging: {format: json}\n")
    display = choose(file, as_json=True)
    display.show(Report(job="j", state="running"))
    display.say("goes on")

    found = capsys.readouterr()
    assert json.loads(found.out)["job"] == "j"
    assert [json.loads(line)["event"] for line in found.err.splitlines()] == [
        "job_progress",
        "job_step",
    ]


def test_the_client_secret_is_in_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "headrace.yaml"
    oauth = "{token_url: https://id.example/t, client_id: c, client_secret: of-the-client}"
    sasl = f"{{mechanism: OAUTHBEARER, oauth: {oauth}}}"
    file.write_text(f"kafka: {{sasl: {sasl}}}\nlogging: {{format: json}}\n")
    choose(file, as_json=False)
    logging.getLogger("headrace_client").warning("asked with of-the-client")

    assert json.loads(capsys.readouterr().err)["message"] == "asked with **********"


def test_the_password_of_the_results_cluster_is_in_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "headrace.yaml"
    results = "{bootstrap: results.example:9092, sasl: {username: u, password: of-the-results}}"
    file.write_text(f"results_kafka: {results}\nlogging: {{format: json}}\n")
    choose(file, as_json=False)
    logging.getLogger("headrace_client").warning("asked with of-the-results")

    assert json.loads(capsys.readouterr().err)["message"] == "asked with **********"


def test_a_broken_file_is_left_to_who_needs_it(tmp_path: Path) -> None:
    file = tmp_path / "headrace.yaml"
    file.write_text("logging: {format: xml}\n")

    assert isinstance(choose(file, as_json=True), JsonLines)
