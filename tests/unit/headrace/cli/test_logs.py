"""What `headrace up` says: lines for a person, or JSON lines without the settings' secrets."""

import json
import logging
from collections.abc import Iterator

import pytest

from headrace.cli.logs import Saying
from headrace.service.changes import Action, Change
from headrace.settings.file import parse_settings
from headrace_client.logs.forms import OWN_LOGGERS
from headrace_client.logs.handler import EventHandler
from schemas.settings.file import Settings

SETTINGS = """\
kafka:
  tls: {{}}
  sasl: {{username: u, password: hunter2-of-kafka}}
models:
  m: {{kind: custom, import_path: "a:B", urls: [/v1/x]}}
routes:
  r: {{model: m, requests_topic: a, results_topic: b, dead_letters_topic: c, group: g}}
logging: {{format: {form}}}
"""


def settings_with(form: str) -> Settings:
    return parse_settings(SETTINGS.format(form=form).encode())


@pytest.fixture(autouse=True)
def own_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {n: logging.getLogger(n).level for n in OWN_LOGGERS}
    yield
    for each in set(root.handlers) - set(handlers):
        assert isinstance(each, EventHandler)
    root.handlers = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_json_lines_have_events_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    saying = Saying(settings_with("json"))
    saying.step("Kafka: connects as u with hunter2-of-kafka")
    saying.plan(
        [
            Change(application="headrace-route-r", action=Action.LIVE, reasons=("a: 1 -> 2",)),
            Change(application="headrace-model-m", action=Action.UNCHANGED),
        ]
    )
    saying.started("Ctrl-C drains and stops")
    saying.stopped("stopped")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == [
        "service_step",
        "settings_changed",
        "service_started",
        "service_stopped",
    ]
    assert lines[0]["message"] == "Kafka: connects as u with **********"
    assert lines[1]["reasons"] == ["a: 1 -> 2"]


def test_plain_lines_are_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger().handlers)
    saying = Saying(settings_with("plain"))
    saying.step("Ray: started")
    saying.stopped("stopped")

    assert capsys.readouterr().err == "Ray: started\nstopped\n"
    assert logging.getLogger().handlers == before
