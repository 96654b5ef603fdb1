"""`headrace diff` before `headrace up`; Ray is faked."""

import json
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from headrace.cli import diff as diff_command
from headrace.cli import main
from headrace.service import running as running_module
from headrace.service.applications import specs_of
from headrace.service.changes import RunningApplication
from headrace.settings.file import load_settings

SETTINGS = Path(__file__).parents[4] / "headrace.yaml"


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> dict[str, RunningApplication]:
    """Let this run."""
    found = {
        spec.name: RunningApplication(built=spec.built, live=spec.live, options=spec.options)
        for spec in specs_of(load_settings(SETTINGS))
    }
    monkeypatch.setattr(ray, "init", lambda **_options: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(running_module, "running_applications", lambda: found)
    return found


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["diff", "-c", str(SETTINGS), *arguments])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_where_the_settings_run_nothing_would_change(
    running: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = run(capsys)

    assert code == 0
    assert printed.count("unchanged") == len(running)


def test_a_change_is_shown_within_80_columns(
    running: dict[str, RunningApplication],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diff_command, "out", Console(width=80))
    route = running["headrace-route-embeddings"]
    running["headrace-route-embeddings"] = RunningApplication(
        built={**route.built, "settings": {**route.built["settings"], "group": "g" * 60}},
        live={"limits": {"max_request_bytes": 9}},
        options=route.options,
    )
    running["headrace-model-old"] = running["headrace-model-minilm"]

    code, printed = run(capsys)

    assert code == 1
    assert "route embeddings" in printed
    assert "restart" in printed
    assert "limits.max_request_bytes" in printed
    assert "remove" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_a_change_is_shown_to_programs(
    running: dict[str, RunningApplication], capsys: pytest.CaptureFixture[str]
) -> None:
    del running["headrace-route-embeddings"]

    code, printed = run(capsys, "--json")

    assert code == 1
    changes = {each["name"]: each["action"] for each in json.loads(printed)["changes"]}
    assert changes == {
        "status": "unchanged",
        "model minilm": "unchanged",
        "route embeddings": "add",
        "console": "unchanged",
    }


def test_without_ray_it_says_what_starts_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_options: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(SystemExit) as ended:
        main(["diff", "-c", str(SETTINGS)])

    assert ended.value.code == 2
    assert "headrace up" in capsys.readouterr().err
