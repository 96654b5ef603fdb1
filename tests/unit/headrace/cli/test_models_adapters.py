"""The commands for adapters, over a model that is not there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.main import main
from headrace.cli.models import adapters as commands
from headrace.errors import UserError

SETTINGS = """\
models:
  chat: {kind: generator, source: "path:/base", adapters: {poet: "path:/poet"}}
routes:
  chat: {model: chat, requests_topic: a, results_topic: b, dead_letters_topic: c, group: g}
"""


class FakeAdapters:
    def __init__(self) -> None:
        self.sources = {"old": "path:/old"}
        self.calls: list[tuple[Any, ...]] = []
        self.problems: dict[str, str] = {}

    def add(self, name: str, source: str, *, replaces: bool = False) -> None:
        if name == "large":
            raise UserError("models.chat.adapters.large: rank 64 is over the 16; nothing changed")
        self.calls.append(("add", name, source, replaces))
        self.sources[name] = source

    def remove(self, name: str) -> None:
        self.calls.append(("remove", name))

    def replicas(self) -> list[dict[str, Any]]:
        well = {"replica": "r1", "loaded": dict(self.sources), "problems": {}}
        sick: dict[str, Any] = {
            "replica": "r2",
            "loaded": dict(self.sources),
            "problems": self.problems,
        }
        for name in self.problems:
            del sick["loaded"][name]
        return [well, sick]


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeAdapters:
    fake = FakeAdapters()

    @contextmanager
    def adapters_of(model: str) -> Iterator[FakeAdapters]:
        assert model == "chat"
        yield fake

    monkeypatch.setattr(commands, "_adapters_of", adapters_of)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_CONFIG", raising=False)
    return fake


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(["models", *arguments])
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def test_what_is_added_is_to_be_kept_in_the_settings(
    running: FakeAdapters, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "add-adapter", "chat", "poet", "path:/poet")
    assert (code, out) == (0, "")
    assert running.calls == [("add", "poet", "path:/poet", False)]
    assert "poet: loaded by 2 replicas of chat" in err
    assert "      adapters:\n        poet: path:/poet" in err


def test_settings_that_have_it_need_no_word(
    running: FakeAdapters, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "headrace.yaml").write_text(SETTINGS)
    _, _, err = run(capsys, "add-adapter", "chat", "poet", "path:/poet", "--replace")
    assert running.calls == [("add", "poet", "path:/poet", True)]
    assert "Keep it" not in err
    _, _, err = run(capsys, "add-adapter", "chat", "poet", "path:/other")
    assert "Keep it" in err
    _, _, err = run(capsys, "remove-adapter", "chat", "poet")
    assert "the next `headrace up` brings it back" in err.replace("\n", " ")
    _, _, err = run(capsys, "remove-adapter", "chat", "old")
    assert "brings it back" not in err


def test_a_path_is_the_same_for_replicas_that_run_elsewhere(
    running: FakeAdapters, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(capsys, "add-adapter", "chat", "poet", "path:here/poet")
    assert running.calls == [("add", "poet", f"path:{tmp_path / 'here/poet'}", False)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("large", "path:/large"), "rank 64"),
        (("poet", "/poet"), "SOURCE: '/poet' must be path:/DIR, hub:ORG/NAME"),
        ((" ", "path:/poet"), "NAME: must not be empty"),
    ],
)
def test_what_cannot_be_added_is_said(
    running: FakeAdapters,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, str],
    said: str,
) -> None:
    code, out, err = run(capsys, "add-adapter", "chat", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert running.calls == []


def test_a_replica_that_could_not_load_one_is_listed(
    running: FakeAdapters, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "list-adapters", "chat")
    assert code == 0
    assert "2 of 2" in out
    running.problems = {"old": "there is no directory /old"}
    code, out, err = run(capsys, "list-adapters", "chat")
    assert code == 1
    assert "1 of 2" in out
    assert "old, replica r2: there is no directory /old" in err
    code, out, _ = run(capsys, "list-adapters", "chat", "--json")
    assert code == 1
    assert json.loads(out) == {
        "model": "chat",
        "adapters": [{"name": "old", "source": "path:/old", "replicas": 1}],
        "problems": [{"name": "old", "replica": "r2", "message": "there is no directory /old"}],
    }
