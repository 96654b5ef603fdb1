"""``headrace cancel`` before it talks to a broker, and what the settings say about it."""

from pathlib import Path

import pytest

from headrace.cli import main
from headrace.settings.file import load_settings
from headrace.topics import wanted_topics

SETTINGS = """\
models:
  m: {kind: embedder, source: "wheel:x"}
routes:
  r: {model: m, group: g, requests_topic: in, results_topic: out, dead_letters_topic: dead, EXTRA}
"""


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    return tmp_path / "headrace.yaml"


def fails(
    capsys: pytest.CaptureFixture[str], settings_file: Path, extra: str, *arguments: str
) -> str:
    settings_file.write_text(SETTINGS.replace("EXTRA", extra))
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--config", str(settings_file)])
    assert caught.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "arguments", [(), ("--all", "--job", "j"), ("--job", "j", "--custom-id", "c")]
)
def test_exactly_one_target(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], settings_file: Path
) -> None:
    said = fails(capsys, settings_file, "control_topic: control", "cancel", *arguments)
    assert "one of --custom-id, --job and --all" in said


def test_an_illegal_target_is_named(
    capsys: pytest.CaptureFixture[str], settings_file: Path
) -> None:
    said = fails(capsys, settings_file, "control_topic: control", "cancel", "--job", "")
    assert "job: String should have at least 1 character" in said


def test_a_route_without_a_control_topic_says_what_to_set(
    capsys: pytest.CaptureFixture[str], settings_file: Path
) -> None:
    said = fails(capsys, settings_file, "", "cancel", "--job", "j")
    assert "routes.r.control_topic is not set" in said


def test_resolving_needs_a_store(capsys: pytest.CaptureFixture[str], settings_file: Path) -> None:
    said = fails(capsys, settings_file, "", "results", "--resolve")
    assert "routes.r.claim_check is not set" in said


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ("control_topic: in", "control_topic must differ"),
        ("claim_check: {store: 's3://b/../x'}", "no parts . or .."),
        ("claim_check: {store: 'http://b/x'}", "scheme must be one of"),
        ("claim_check: {store: 's3://b/x', request_prefixes: ['file:///']}", "file:/// and a path"),
    ],
)
def test_illegal_settings_name_the_problem(
    extra: str, problem: str, capsys: pytest.CaptureFixture[str], settings_file: Path
) -> None:
    assert problem in fails(capsys, settings_file, extra, "cancel", "--job", "j")


def test_the_control_topic_has_one_partition(settings_file: Path) -> None:
    settings_file.write_text(
        SETTINGS.replace("EXTRA", "control_topic: control, topics: {partitions: 8}")
    )
    wanted = wanted_topics(load_settings(settings_file))
    assert {topic: info.partitions for topic, info in wanted.items()} == {
        "in": 8,
        "out": 8,
        "dead": 8,
        "control": 1,
        "headrace.jobs": 1,
    }
