"""`submit --wait` and the selections of `results`, against a real broker and a fake service."""

import json
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from aiokafka.structs import ConsumerRecord

from headrace.cli import main
from headrace.settings.file import load_settings
from tests.answering import Answer, Topics, answering
from tests.brokers import TestBroker

pytestmark = pytest.mark.kafka

SETTINGS = """\
kafka: {bootstrap: "BOOTSTRAP"}
models:
  m: {kind: embedder, source: "wheel:x"}
routes:
  r: {model: m, group: ID.g, requests_topic: ID.in, results_topic: ID.out,
    dead_letters_topic: ID.dead}
"""


@pytest.fixture
def settings_file(
    kafka_broker: TestBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Path:
    text = SETTINGS.replace("BOOTSTRAP", kafka_broker.bootstrap).replace("ID", uuid.uuid4().hex)
    file = tmp_path / "headrace.yaml"
    file.write_text(text)
    monkeypatch.setenv("HEADRACE_CONFIG", str(file))
    assert run(capsys, "topics", "create")[0] == 0
    return file


@pytest.fixture
def topics(settings_file: Path) -> Topics:
    route = load_settings(settings_file).routes["r"]
    return Topics(route.requests_topic, route.results_topic, route.dead_letters_topic)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def write_lines(path: Path, *custom_ids: str) -> str:
    lines = [{"custom_id": each, "url": "/v1/embeddings", "body": {}} for each in custom_ids]
    path.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    return str(path)


def answer_by_name(record: ConsumerRecord, topics: Topics) -> Sequence[Answer]:
    """Answer twice, as at-least-once may; refuse and fail what is named so."""
    custom_id = orjson.loads(record.value)["custom_id"]
    line = {
        "id": f"{record.topic}-{record.partition}-{record.offset}",
        "custom_id": custom_id,
        "response": {"status_code": 200, "request_id": "r", "body": {"data": []}},
        "error": None,
    }
    if custom_id.startswith("dead"):
        code = [("headrace-error-code", b"model_failed"), ("headrace-error-message", b"it fell")]
        return [(topics.dead_letters, record.value, code)]
    if custom_id.startswith("refused"):
        error = {"code": "invalid_value", "message": "no"}
        line["response"] = {"status_code": 400, "request_id": "r", "body": {"error": error}}
    return [(topics.results, orjson.dumps(line), [])] * 2


def test_it_waits_until_each_record_has_its_outcome(
    kafka_broker: TestBroker, topics: Topics, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    old = write_lines(tmp_path / "old.jsonl", *(f"old{number}" for number in range(50)))
    good = [f"good{number}" for number in range(400)]
    file = write_lines(tmp_path / "in.jsonl", *good, "dead1", "refused1", "refused2")
    output = tmp_path / "out.jsonl"
    with answering(kafka_broker.bootstrap, topics, lambda each: answer_by_name(each, topics)):
        assert run(capsys, "submit", old, "--wait")[0] == 0
        arguments = ("--job", "j", "--deadline", "1h", "--wait", "-o", str(output), "--json")
        code, out, err = run(capsys, "submit", file, *arguments)

    assert code == 1, err
    report = json.loads(out)
    assert report["sent_records"] == 403
    assert report["answered_records"] == 400
    assert report["outcomes"] == {"answered": 400, "invalid_value": 2, "model_failed": 1}
    lines = [json.loads(line) for line in output.read_bytes().splitlines()]
    assert sorted(each["custom_id"] for each in lines) == sorted(
        [*good, "dead1", "refused1", "refused2"]
    )


def test_results_of_a_job_and_of_names_until_there_are_enough(
    kafka_broker: TestBroker, topics: Topics, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "in.jsonl", "a", "b", "c")

    def ids(*arguments: str) -> list[str]:
        code, out, err = run(capsys, "results", *arguments)
        assert code == 0, err
        return sorted(json.loads(line)["custom_id"] for line in out.splitlines())

    with answering(kafka_broker.bootstrap, topics, lambda each: answer_by_name(each, topics)):
        assert run(capsys, "submit", file, "--job", "first", "--wait")[0] == 0
        sender = threading.Thread(
            target=lambda: subprocess.run(
                [sys.executable, "-c", SUBMIT, "submit", file, "--job", "second"],
                check=True,
                timeout=300,
            )
        )
        sender.start()
        assert ids("--job", "second", "--until-count", "3") == ["a", "b", "c"]
        sender.join(300)
        assert not sender.is_alive(), "`headrace submit` has not ended after 300 s"

    assert ids("--job", "first", "--since", "1h") == ["a", "a", "b", "b", "c", "c"]
    assert ids("--job", "first", "--custom-id", "a", "--custom-id", "c", "--json") == [
        *("a", "a", "c", "c")
    ]
    assert ids("--since", "2999-01-01") == []
    assert ids("--job", "none") == []


# A test run in the background of a script ignores SIGINT, and so would its children.
SUBMIT = """
import signal, sys
from headrace.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main(sys.argv[1:])
"""


def test_an_interrupted_wait_says_how_to_read_the_rest(settings_file: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "in.jsonl", "a", "b")
    process = subprocess.Popen(
        [sys.executable, "-c", SUBMIT, "submit", file, "--wait"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while "does a service run for this route?" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    said += process.communicate(timeout=60)[1]

    assert process.returncode == 130
    assert "2 records were sent, and have no result yet" in said
    assert "headrace results --route r --since " in said


def test_a_missing_topic_is_told_before_anything_is_sent(
    kafka_broker: TestBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings_file: Path,
) -> None:
    file = write_lines(tmp_path / "in.jsonl", "a")

    code, _, err = run(capsys, "submit", file, "--wait", "--reply-topic", "nowhere")

    assert code == 2
    assert "there is no topic nowhere, so nothing was sent" in err
