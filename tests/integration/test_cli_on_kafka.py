"""The commands that talk to Kafka, against a real broker."""

import gzip
import io
import json
import sys
import uuid
from pathlib import Path

import pytest

from headrace.cli import main
from tests.brokers import TestBroker

pytestmark = pytest.mark.kafka

SETTINGS = """\
kafka:
  bootstrap: BOOTSTRAP
models:
  m: {kind: embedder, source: "wheel:x"}
routes:
  forth: {model: m, group: ID.g,
    requests_topic: ID.a, results_topic: ID.b, dead_letters_topic: ID.c}
  back: {model: m, group: ID.h,
    requests_topic: ID.b, results_topic: ID.a, dead_letters_topic: ID.d}
jobs: {topic: ID.jobs}
"""


@pytest.fixture
def settings_file(
    kafka_broker: TestBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    text = SETTINGS.replace("BOOTSTRAP", kafka_broker.bootstrap).replace("ID", uuid.uuid4().hex)
    file = tmp_path / "headrace.yaml"
    file.write_text(text)
    monkeypatch.setenv("HEADRACE_CONFIG", str(file))
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def test_topics_are_created_once(settings_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "topics", "create", "--json")
    assert code == 0
    assert [each["created"] for each in json.loads(out)] == [True] * 5

    settings_file.write_text(
        settings_file.read_text().replace("{model: m,", "{model: m, topics: {partitions: 9},")
    )
    code, out, _ = run(capsys, "topics", "create", "--json")
    assert code == 0
    assert {
        (each["created"], each["partitions"], each["wanted_partitions"]) for each in json.loads(out)
    } == {(False, 4, 9), (False, 1, 1)}


def test_lines_come_back_as_they_went_in(
    settings_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(capsys, "topics", "create")
    lines = [b'{"custom_id": "%d"}' % number for number in range(3000)] + [
        b"not json",
        b"\xff\xfe",
        b" x \r",
    ]
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"\n".join(lines) + b"\n\n")

    code, out, err = run(capsys, "submit", str(source), "-r", "forth", "--json")
    assert (code, out) == (2, "")
    assert "line 3001 is not JSON" in err

    code, out, _ = run(capsys, "submit", str(source), "-r", "forth", "--json", "--unchecked")
    assert code == 0
    assert json.loads(out)["sent_records"] == len(lines)

    target = tmp_path / "out.jsonl"
    code, _, _ = run(capsys, "results", "-r", "back", "-o", str(target))
    assert code == 0
    assert sorted(target.read_bytes().removesuffix(b"\n").split(b"\n")) == sorted(lines)

    code, out, err = run(capsys, "status", "--json", "--no-service")
    assert code == 0, err
    assert json.loads(out)["routes"]["forth"]["lag_records"] == len(lines)


def test_what_follows_ends_at_the_maximum(
    settings_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    run(capsys, "topics", "create")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\nc\n")))
    code, out, _ = run(
        capsys, "submit", "-", "-r", "forth", "--key-field", "none", "--json", "--unchecked"
    )
    assert (code, json.loads(out)["sent_records"]) == (0, 3)

    target = tmp_path / "out"
    code, _, _ = run(
        capsys, "results", "-r", "back", "-f", "--from-beginning", "-n", "2", "-o", str(target)
    )
    assert code == 0
    assert len(target.read_bytes().splitlines()) == 2


def test_what_the_broker_will_not_take_is_told_about(
    settings_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(capsys, "topics", "create")
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"small\n" + b"x" * (17 * 1024 * 1024) + b"\nsmall\n")

    code, out, _ = run(capsys, "submit", str(source), "-r", "forth", "--json", "--unchecked")

    report = json.loads(out)
    assert code == 1
    assert (report["sent_records"], report["refused_records"]) == (2, 1)
    assert "line 2 has 17,825,792 bytes" in report["problems"][0]


def test_a_missing_topic_says_how_to_create_it(
    settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "results", "-r", "forth")

    assert code == 2
    assert "headrace topics create" in err


def test_a_broker_that_is_not_there_says_what_to_check(
    settings_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA__BOOTSTRAP", "127.0.0.1:1")

    code, _, err = run(capsys, "topics", "create")

    assert code == 2
    assert "kafka.bootstrap" in err


def test_a_packed_array_is_sent_as_its_requests(
    settings_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(capsys, "topics", "create")
    requests = [{"custom_id": str(number), "body": {"input": ["é"]}} for number in range(300)]
    source = tmp_path / "in.json.gz"
    source.write_bytes(gzip.compress(json.dumps(requests, indent=2).encode("utf-16")))

    code, out, err = run(capsys, "submit", str(source), "-r", "forth", "--json")
    assert (code, json.loads(out)["sent_records"]) == (0, 300), err

    target = tmp_path / "out.jsonl"
    code, _, _ = run(capsys, "results", "-r", "back", "-o", str(target))
    assert code == 0
    sent = [json.loads(line) for line in target.read_bytes().splitlines()]
    assert sorted(sent, key=lambda each: int(each["custom_id"])) == requests
