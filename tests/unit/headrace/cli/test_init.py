"""``headrace init``: every combination of answers is a legal file, and says how to go on."""

import io
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.cli import check as check_command
from headrace.cli import main
from headrace.settings.file import load_settings
from headrace.settings.first_file import LOCAL_BROKERS, TASKS, FirstFile
from schemas.wire.requests import parse_request_line

SOURCES = (
    None,
    "wheel:A_b.c",
    "hub:BAAI/bge-base-en-v1.5@a5beb1e3e68b9ab74eb54cfd186867f64f240e1a",
    "path:/models/with space: and # more/",
    "hub:org/" + "n" * 90,
)
KAFKAS = (*LOCAL_BROKERS, "kafka-1.example.com:9093,kafka-2.example.com:9093", "[::1]:9092")


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check_command, "look_at_topics", lambda _settings: ([], "there is none"))
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, " ".join(captured.err.split())


def only_model(path: Path) -> tuple[str, Any]:
    [named] = load_settings(path).models.items()
    return named


@pytest.mark.parametrize(("task", "source", "kafka"), list(product(TASKS, SOURCES, KAFKAS)))
def test_check_passes_whatever_the_answers(
    capsys: pytest.CaptureFixture[str], task: str, source: str | None, kafka: str
) -> None:
    model = () if source is None else ("--model", source)
    code, _, err = run(capsys, "init", "--task", task, *model, "--kafka", kafka, "--yes")
    assert code == 0, err

    code, out, err = run(capsys, "check")
    assert code == 0, err
    assert "headrace.yaml is valid" in out
    settings = load_settings(Path("headrace.yaml"))
    assert only_model(Path("headrace.yaml"))[1].source == (source or TASKS[task].source)
    is_local = kafka in LOCAL_BROKERS
    assert settings.kafka.broker == (kafka if is_local else "external")
    assert settings.kafka.bootstrap == ("127.0.0.1:9092" if is_local else kafka)


@pytest.mark.parametrize("task", TASKS)
def test_the_sample_is_a_request_that_the_route_answers(
    capsys: pytest.CaptureFixture[str], task: str
) -> None:
    code, out, _ = run(capsys, "init", "--task", task, "--yes")
    assert code == 0

    sample = out.splitlines()[-1].split("'")[1].encode()
    request = parse_request_line(sample)
    _, model = only_model(Path("headrace.yaml"))
    assert request.url in model.endpoints


@pytest.mark.parametrize("task", TASKS)
def test_every_key_is_written_with_its_default_or_explained(task: str) -> None:
    lines = FirstFile(TASKS[task], TASKS[task].source, "embedded", cpus=2).text().splitlines()
    bare = [line for line in lines if line and line[0] != " " and "#" not in line]

    assert bare == ["kafka:", "models:", "routes:"]
    assert all(len(line) <= 100 for line in lines if "source: " not in line)


def test_nothing_is_written_over_a_file_without_force(capsys: pytest.CaptureFixture[str]) -> None:
    Path("headrace.yaml").write_text("mine")

    code, _, err = run(capsys, "init", "--yes")
    assert code == 2
    assert "headrace.yaml exists, and is left as it is" in err
    assert Path("headrace.yaml").read_text() == "mine"

    assert run(capsys, "init", "--yes", "--force")[0] == 0
    assert "models" in yaml.safe_load(Path("headrace.yaml").read_text())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_three_questions_are_asked_and_a_wrong_answer_is_asked_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = "chatt\nchat\nhub:a/b\nkafka\n\n"
    monkeypatch.setattr(sys, "stdin", Terminal(answers))

    code, out, err = run(capsys, "init", "my settings.yaml")

    assert code == 0, err
    assert "no task 'chatt'; did you mean 'chat'?" in err
    assert "'kafka' is neither embedded, kafka-home, docker nor brokers as HOST:PORT" in err
    assert "embeddings: vectors of texts" in err
    settings = load_settings(Path("my settings.yaml"))
    assert (list(settings.models), settings.kafka.broker) == (["b"], "embedded")
    assert out.splitlines()[0] == "headrace check --config 'my settings.yaml'"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "no terminal to ask on: give --task, --model, --kafka, or --yes"),
        (("--task", "embed", "--yes"), "--task: no task 'embed'; did you mean 'embeddings'?"),
        (("--model", "minilm", "--yes"), "--model: 'minilm' is no source: write wheel:"),
        (("--kafka", "rabbit", "--yes"), "--kafka: 'rabbit' is neither embedded, kafka-home"),
        (("--kafka", "a:b", "--yes"), "nothing was written; these answers fit no settings"),
        (("/nonexistent/headrace.yaml", "--yes"), "cannot be written (No such file or directory)"),
    ],
)
def test_what_cannot_be_written_says_why(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    problem: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    code, _, err = run(capsys, "init", *arguments)

    assert code == 2
    assert problem in err
    assert not Path("headrace.yaml").exists()
