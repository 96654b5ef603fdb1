"""The command line, as far as it needs neither Kafka nor Ray."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from headrace.cli import main
from headrace.cli.main import COMMANDS
from headrace.cli.records.results import describe_body, describe_dead_letter, describe_result
from headrace.cli.records.submit import key_of_line
from headrace.records.reading import TopicRecord
from headrace_client.cli import SERVICE_COMMANDS
from headrace_client.cli.commands import Command, load
from headrace_client.cli.main import COMMANDS as CLIENT_COMMANDS

ROOT = Path(__file__).parents[4]
SETTINGS = str(ROOT / "headrace.yaml")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def record(value: bytes | None, **headers: str) -> TopicRecord:
    return TopicRecord(
        topic="t",
        partition=0,
        offset=7,
        key=b"k",
        value=value,
        headers=tuple((name.replace("_", "-"), text.encode()) for name, text in headers.items()),
        timestamp_ms=0,
    )


def test_the_clients_command_finds_the_service() -> None:
    client = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]["scripts"]
    service = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]

    assert client["headrace"] == "headrace_client.cli:main"
    assert service[SERVICE_COMMANDS] == {"service": f"{main.__module__.removesuffix('.main')}:main"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
def test_a_summary_is_the_first_line_of_the_commands_help(command: Command) -> None:
    assert load(command).help.split("\n\n")[0].replace("\n", " ") == command.summary


def test_the_service_has_the_clients_commands(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")

    assert code == 0
    names = [each.name for each in (*COMMANDS, *CLIENT_COMMANDS)]
    assert [name for name in names if f"│ {name} " not in out] == []


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_that_is_slow(option: str) -> None:
    slow = ("aiokafka", "pydantic", "numpy", "ray", "torch", "pyarrow", "fsspec")
    code = (
        "import sys; from headrace.cli import main\n"
        f"try: main(['{option}'])\n"
        f"finally: print([name for name in {slow} if name in sys.modules])"
    )
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")])}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command",
    ["up", "submit", "results", "status", "check", "schema", "topics create", "models pull"],
)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, *command.split(), "--help")

    assert code == 0
    assert "--config" in out


def test_check_shows_a_legal_file(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", SETTINGS)

    assert code == 0
    assert "is valid" in out
    assert "minilm" in out


def test_check_lists_every_problem(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(Path(SETTINGS).read_text().replace("dtype: auto", "dtype: f32\n    x: 1"))

    code, out, err = run(capsys, "check", str(bad))
    assert code == 2
    assert out == ""
    assert err.count("error: ") == 2
    assert "models.minilm.dtype" in err

    code, out, _ = run(capsys, "check", "--json", "-c", str(bad))
    assert code == 2
    report = json.loads(out)
    assert report["valid"] is False
    assert {one["field"] for one in report["problems"]} == {
        "models.minilm.dtype",
        "models.minilm.x",
    }


def test_check_never_prints_a_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA__BROKER", "external")
    monkeypatch.setenv("HEADRACE_KAFKA__SASL__USERNAME", "bob")
    monkeypatch.setenv("HEADRACE_KAFKA__SASL__PASSWORD", "hunter2")

    for options in ([], ["--json"]):
        code, out, err = run(capsys, "check", SETTINGS, *options)
        assert code == 0
        assert "hunter2" not in out + err


def test_schema_prints_and_writes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "schema", "request")
    assert code == 0
    assert json.loads(out)["title"] == "RequestLine"

    code, _, _ = run(capsys, "schema", "-c", SETTINGS, "-o", str(tmp_path))
    assert code == 0
    assert json.loads((tmp_path / "asyncapi.json").read_bytes())["asyncapi"] == "3.0.0"
    assert (tmp_path / "result.schema.json").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["schema", "reqest"], "did you mean 'request'?"),
        (["check", "/nonexistent.yaml"], "--config FILE"),
        (["submit", "/nonexistent.jsonl", "-c", SETTINGS], "cannot be read"),
        (["submit", "-", "-r", "embedings", "-c", SETTINGS], "did you mean 'embeddings'?"),
        (["submit", "-", "-o", "x", "-c", SETTINGS], "--output: is for --wait"),
        (["submit", "-", "--deadline", "soon", "-c", SETTINGS], "--deadline: 'soon' is no time"),
        (["submit", "-", "--deadline", "2001-01-01", "-c", SETTINGS], "is past"),
        (["submit", "-", "--job", "", "-c", SETTINGS], "--job: a name has 1 to 512"),
        (["submit", "-", "-H", "headrace-jb=x", "-c", SETTINGS], "did you mean 'headrace-job'?"),
        (["results", "--since", "soon", "-c", SETTINGS], "--since: 'soon' is no time"),
        (
            ["results", "--since", "1h", "--from-beginning", "-c", SETTINGS],
            "give one of them",
        ),
        (["results", "--until-count", "3", "-n", "3", "-c", SETTINGS], "give one of them"),
        (["models", "pull", "minilmm", "-c", SETTINGS], "did you mean 'minilm'?"),
        (["models", "pull", "path:/nonexistent"], "there is no directory /nonexistent"),
    ],
)
def test_a_users_error_says_what_to_do(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    code, out, err = run(capsys, *arguments)

    assert code == 2
    assert out == ""
    assert expected in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b'{"custom_id": "a"}', b"a"),
        ('{"custom_id": "ä"}'.encode(), "ä".encode()),
        (b'{"custom_id": ""}', None),
        (b'{"custom_id": 3}', None),
        (b"{}", None),
        (b"[]", None),
        (b"not json", None),
        (b"\xff", None),
    ],
)
def test_the_key_is_the_custom_id(line: bytes, key: bytes | None) -> None:
    assert key_of_line(line) == key


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            b'{"id":"i","custom_id":"c","response":{"status_code":200,"request_id":"i","body":'
            b'{"data":[{"embedding":[1,2]},{"embedding":[3,4]}],"usage":{"total_tokens":9}}},'
            b'"error":null}',
            ("c", "200", "2 embeddings, 2 components, 9 tokens"),
            id="embeddings",
        ),
        pytest.param(
            b'{"id":"i","custom_id":"c","response":{"status_code":400,"request_id":"i","body":'
            b'{"error":{"message":"no input"}}},"error":null}',
            ("c", "400", "no input"),
            id="refused",
        ),
        pytest.param(
            b'{"id":"i","custom_id":"c","response":null,"error":{"code":"request_expired",'
            b'"message":"late"}}',
            ("c", "request_expired", "late"),
            id="error",
        ),
        pytest.param(
            b'{"id":"i","custom_id":"c","response":{"status_code":200,"request_id":"i","body":'
            b'{"choices":[{"message":{"content":"Paris\\n is"},"finish_reason":"stop"}]}},'
            b'"error":null}',
            ("c", "200", "stop: Paris is"),
            id="chat",
        ),
        pytest.param(
            b'{"id":"i","custom_id":"c","response":{"status_code":200,"request_id":"i","body":'
            b'{"choices":[{"text":"a","finish_reason":"length"},{"text":"b"}]}},'
            b'"error":null}',
            ("c", "200", "length, first of 2 replies: a"),
            id="replies",
        ),
        pytest.param(
            b'{"id":"i","custom_id":"c","response":{"status_code":200,"request_id":"i","body":'
            b'{"choices":[{"message":{"content":null,"tool_calls":[{"function":{"name":"f"}},3]}}]}},'
            b'"error":null}',
            ("c", "200", "tool_calls: f"),
            id="tool calls",
        ),
        pytest.param(
            b'{"id":"i","custom_id":"c","response":{"status_code":200,"request_id":"i","body":'
            b'{"data":[{"label":"safe","probs":[0.0125,0.9875]},{"label":"x"}]}},'
            b'"error":null}',
            ("c", "200", "safe 0.988, first of 2 texts"),
            id="classes",
        ),
        pytest.param(
            b'{"id":"i","custom_id":"c","response":{"status_code":200,"request_id":"i","body":'
            b'{"data":[{"label":"LABEL_0","probs":[-2]}]}},'
            b'"error":null}',
            ("c", "200", "LABEL_0 -2.000"),
            id="raw output",
        ),
        pytest.param(
            b'{"id":"i","custom_id":"c","response":{"status_code":200,"request_id":"i","body":'
            b'{"results":[{"index":4,"relevance_score":0.9},{"index":1,"relevance_score":0.1}]}},'
            b'"error":null}',
            ("c", "200", "2 results, best: document 4, score 0.900"),
            id="rerank",
        ),
        pytest.param(
            b'{"id":"i","custom_id":"c","response":{"status_code":200,"request_id":"i","body":'
            b'{"data":[{"index":0,"score":0.25},{"index":1,"score":0.75},{"index":2}]}},'
            b'"error":null}',
            ("c", "200", "3 scores, best: document 1, score 0.750"),
            id="scores",
        ),
        pytest.param(
            b'{"id":"i","custom_id":"c","response":{"status_code":200,"request_id":"i","body":'
            b'{"choices":[],"data":[{"label":3}]}},'
            b'"error":null}',
            ("c", "200", '{"choices":[],"data":[{"label":3}]}'),
            id="a body of no known kind",
        ),
        pytest.param(b"[]", ("", "no result line", "b'[]'"), id="something else"),
        pytest.param(None, ("", "no result line", "b''"), id="tombstone"),
    ],
)
def test_a_result_in_a_few_words(value: bytes | None, expected: tuple[str, str, str]) -> None:
    assert describe_result(record(value)) == expected


def test_a_long_reply_is_cut() -> None:
    choice = {"message": {"content": "word " * 99}, "finish_reason": "stop"}

    assert describe_body({"choices": [choice]}) == "stop: " + ("word " * 16) + "…"


def test_a_dead_letter_in_a_few_words() -> None:
    letter = record(
        b"x", headrace_error_code="invalid_json", headrace_error_message="it is no JSON"
    )

    assert describe_dead_letter(letter) == ("k", "invalid_json", "it is no JSON")


def test_bytes_that_are_no_text_survive_json() -> None:
    assert record(b"\xff").to_dict()["value"] == {"base64": "/w=="}
    assert record(None).to_dict()["value"] is None
