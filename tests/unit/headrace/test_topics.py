"""Which topics cannot take what the routes publish, and what the commands say of them."""

from pathlib import Path
from typing import Self

import orjson
import pytest

from consumer.kafka.admin.admin import TopicInfo, TopicReport
from consumer.ports import SourceError
from headrace import topics
from headrace.cli import check
from headrace.cli.main import main
from headrace.settings.file import load_settings
from headrace.topics import unfit_topics
from schemas.settings.file import Settings

SETTINGS = """\
kafka:
  bootstrap: 127.0.0.1:1
models:
  m: {kind: custom, import_path: "m:C", urls: [/x]}
routes:
  one: {model: m, requests_topic: in, results_topic: out, dead_letters_topic: dead, group: g}
  two: {model: m, requests_topic: in2, results_topic: out, dead_letters_topic: dead, group: g2}
"""
FIT = {
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.type": "CreateTime",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "headrace.yaml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture
def settings(path: Path) -> Settings:
    return load_settings(path)


def test_kafkas_defaults_take_what_the_defaults_publish(settings: Settings) -> None:
    assert unfit_topics(settings, {"out": FIT, "dead": FIT}) == []
    assert unfit_topics(settings, {}) == []


class Refusing:
    """An administrator who may not create the registry of jobs."""

    def __init__(self, _kafka: object) -> None:
        self.wanted: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_of_error: object) -> None:
        pass

    async def ensure_topics(
        self, wanted: dict[str, TopicInfo], settings: object = None
    ) -> list[TopicReport]:
        if "headrace.jobs" in wanted:
            raise SourceError("cannot create topics: headrace.jobs: TopicAuthorizationFailedError")
        return [TopicReport(topic, True, info, info) for topic, info in wanted.items()]

    async def describe_topics(self, topics: list[str]) -> dict[str, TopicInfo]:
        return dict.fromkeys(topics, TopicInfo(1, 1))


def test_a_service_that_may_not_create_the_registry_of_jobs_runs_without(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "TopicAdmin", Refusing)
    *others, jobs = topics.create_missing_topics(settings)
    assert {each.topic for each in others} == {"in", "in2", "out", "dead"}
    assert all(each.is_created for each in others)
    assert not jobs.is_created
    assert "no job is listed: cannot create topics" in topics.describe_report(jobs)


def test_a_registry_of_jobs_that_keeps_every_word_is_named(settings: Settings) -> None:
    (problem,) = unfit_topics(settings, {"headrace.jobs": FIT})
    assert "set cleanup.policy=compact" in problem
    compacted = FIT | {"cleanup.policy": "compact,delete"}
    assert unfit_topics(settings, {"headrace.jobs": compacted}) == []


@pytest.mark.parametrize(
    ("topic", "name", "value", "words"),
    [
        ("out", "cleanup.policy", "compact", ["results without a key", "cleanup.policy=delete"]),
        ("dead", "cleanup.policy", "delete, compact", ["dead letters without a key"]),
        ("out", "max.message.bytes", "1000", ["routes.one.limits.max_result_bytes", "1000"]),
        ("dead", "max.message.bytes", "1000", ["routes.one.limits.max_request_bytes"]),
        ("out", "message.timestamp.before.max.ms", "1000", ["results that wait for a leader"]),
        ("dead", "message.timestamp.after.max.ms", "0", ["clocks differ"]),
    ],
)
def test_a_setting_that_refuses_what_is_published_is_named_with_its_fix(
    settings: Settings, topic: str, name: str, value: str, words: list[str]
) -> None:
    found = {"out": FIT, "dead": FIT} | {topic: {**FIT, name: value}}
    problem, *others = unfit_topics(settings, found)
    assert all(word in problem for word in (f"topic {topic}: {name}={value}", *words))
    # Of a limit each route has its own.
    assert len(others) == (name == "max.message.bytes")


def test_the_brokers_own_timestamps_are_never_out_of_bounds(settings: Settings) -> None:
    stamped = FIT | {
        "message.timestamp.type": "LogAppendTime",
        "message.timestamp.before.max.ms": "0",
    }
    assert unfit_topics(settings, {"out": stamped, "dead": FIT}) == []


def run_check(path: Path, *options: str) -> int:
    try:
        main(["check", str(path), *options])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_brokers_that_cannot_be_reached_are_no_mistake_in_the_settings(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_check(path) == 0
    said = capsys.readouterr().err
    assert "The topics were not looked at" in said
    assert "127.0.0.1:1" in said


def test_check_tells_of_unfit_topics(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "find_unfit_topics", lambda _settings: ["topic out: is odd"])
    assert run_check(path) == 0
    assert "Warning: topic out: is odd" in capsys.readouterr().err
    assert run_check(path, "--json") == 0
    report = orjson.loads(capsys.readouterr().out)
    assert report["topics"] == {
        "looked_at": True,
        "warnings": ["topic out: is odd"],
        "reason": None,
    }
