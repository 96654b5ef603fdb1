"""The records of the jobs topic: what they become, and that they are what the schemas publish."""

from dataclasses import fields, replace
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from headrace_client.jobs.states import JobState
from headrace_client.registry.announcements import (
    FINISHED,
    MOST_DESCRIPTION_CHARACTERS,
    MOST_JOB_CHARACTERS,
    MOST_NUMBER,
    MOST_TEXT_CHARACTERS,
    MOST_WAIT_CHARACTERS,
    MOST_WAITS,
    Action,
    Announcement,
    Command,
    Counts,
    State,
    Topics,
    UnreadableJobError,
    check_job_name,
)
from headrace_client.wire.requests import cancel_job
from schemas.asyncapi import json_schema
from schemas.wire.control import parse_control_record
from schemas.wire.jobs import MAX_JOB_NAME_CHARACTERS, JobCommand, JobCounts, JobRecord, JobTopics

FULL = Announcement(
    job="nightly",
    kind="bulk embed",
    state=State.RUNNING,
    started_at_ms=1_800_000_000_000,
    updated_at_ms=1_800_000_005_000,
    route="embeddings",
    description="in.parquet -> out.parquet",
    topics=Topics(requests="e.requests", results="e.results", control="e.control"),
    host="node-1",
    user="ada",
    deadline_ms=1_800_000_900_000,
    weight=3,
    rows=Counts(total=1_000, sent=700, done=500, failed=2),
    items=Counts(total=900, sent=600, done=400, failed=1),
    requests=Counts(sent=12, done=9),
    rate_per_s=12.5,
    tokens_per_s=800.0,
    eta_s=40.0,
    waits_for=("a broker: none answers",),
)
LEAST = Announcement(job="j", kind="own", state="done", started_at_ms=0)


def validate(name: str, value: bytes) -> None:
    Draft202012Validator(json_schema(name)).validate(orjson.loads(value))


@pytest.mark.parametrize("announcement", [FULL, LEAST])
def test_an_announcement_is_what_the_schema_says_and_comes_back(announcement: Announcement) -> None:
    value = announcement.encode()
    validate("job", value)
    JobRecord.model_validate_json(value)
    assert Announcement.decode(value) == announcement


@pytest.mark.parametrize(
    ("ours", "published"),
    [(Announcement, JobRecord), (Counts, JobCounts), (Topics, JobTopics), (Command, JobCommand)],
)
def test_client_and_schema_have_the_same_fields(ours: Any, published: Any) -> None:
    assert {each.name for each in fields(ours)} == set(published.model_fields)


def test_client_and_schema_have_the_same_states_and_actions() -> None:
    schema = json_schema("job")["properties"]["state"]["enum"]
    assert {*State} == set(schema)
    assert {*Action} == set(json_schema("job-command")["properties"]["action"]["enum"])
    assert MOST_JOB_CHARACTERS == MAX_JOB_NAME_CHARACTERS


def test_every_state_of_the_jobs_core_can_be_announced() -> None:
    assert {each.value for each in JobState} <= {*State}
    assert {each.value for each in JobState if each.is_final} == FINISHED


@pytest.mark.parametrize("action", list(Action))
def test_a_command_is_what_the_schema_says_and_comes_back(action: Action) -> None:
    command = Command(job="nightly", action=action, at_ms=1_800_000_000_000, by="ada@node-1")
    validate("job-command", command.encode())
    assert Command.decode(command.encode()) == command
    assert command.key == b"nightly/command"


def test_a_cancellation_is_a_control_record() -> None:
    cancellation = cancel_job("embeddings", "nightly")
    validate("control", cancellation.value)
    read = parse_control_record(cancellation.value)
    assert (read.route, read.job) == ("embeddings", "nightly")
    assert read.key == cancellation.key


def test_what_is_too_long_is_cut_and_still_legal() -> None:
    long = replace(FULL, description="x" * 999, waits_for=("y" * 9_999,) * 99)
    validate("job", long.encode())
    assert len(long.encode()) < 10_000


def test_a_reader_does_not_trust_the_writers_limits() -> None:
    values = orjson.loads(FULL.encode()) | {
        "description": "x" * 1_000_000,
        "waits_for": ["y" * 1_000_000] * 99,
        "kind": "k" * 1_000_000,
        "host": "h" * 1_000_000,
        "topics": {"control": "t" * 1_000_000},
        "rate_per_s": 1e20,
        "tokens_per_s": -1e300,
        "eta_s": 1e300,
    }
    read = Announcement.decode(orjson.dumps(values))
    assert len(read.description) == MOST_DESCRIPTION_CHARACTERS
    assert read.waits_for == ("y" * MOST_WAIT_CHARACTERS,) * MOST_WAITS
    texts = (read.kind, read.host, read.topics.control or "")
    assert [len(each) for each in texts] == [MOST_TEXT_CHARACTERS] * 3
    assert (read.rate_per_s, read.tokens_per_s, read.eta_s) == (MOST_NUMBER, 0, MOST_NUMBER)
    command = {"job": "j", "action": "pause", "at_ms": 1, "by": "b" * 1_000_000}
    assert len(Command.decode(orjson.dumps(command)).by) == MOST_TEXT_CHARACTERS
    with pytest.raises(UnreadableJobError, match="at_ms"):
        Command.decode(orjson.dumps(command | {"at_ms": 2**60}))


def test_fields_of_a_newer_release_are_passed_over() -> None:
    value = orjson.loads(FULL.encode())
    value["mood"] = "good"
    value["rows"]["seen"] = 7
    assert Announcement.decode(orjson.dumps(value)) == FULL


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rows": 7}, "rows"),
        ({"rows": {"total": "many"}}, "rows.total"),
        ({"started_at_ms": "now"}, "started_at_ms"),
        ({"state": None}, "state"),
        ({"waits_for": "me"}, "waits_for"),
        ({"waits_for": [1]}, "waits_for"),
        ({"eta_s": "soon"}, "eta_s"),
        ({"topics": {"requests": 1}}, "topics.requests"),
        ({"started_at_ms": 2**63}, "started_at_ms"),
        ({"rows": {"total": 2**54}}, "rows.total"),
        ({"deadline_ms": -(2**60)}, "deadline_ms"),
        ({"eta_s": 2**60}, "eta_s"),
        ({"job": "x" * (MOST_JOB_CHARACTERS + 1)}, "job"),
        ({"job": "a/b"}, "job"),
        ({"job": ""}, "job"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], named: str) -> None:
    value = orjson.loads(FULL.encode()) | changes
    with pytest.raises(UnreadableJobError, match=named):
        Announcement.decode(orjson.dumps(value))


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b"\xff", b'{"job":"j","kind":"k"}'])
def test_what_is_no_announcement_is_unreadable(value: bytes) -> None:
    with pytest.raises(UnreadableJobError):
        Announcement.decode(value)
    with pytest.raises(UnreadableJobError):
        Command.decode(value)


@pytest.mark.parametrize("name", ["nightly", "n.2026-11-29_a b", "é" * MOST_JOB_CHARACTERS])
def test_legal_names(name: str) -> None:
    assert check_job_name(name) == name
    validate("job", replace(LEAST, job=name).encode())


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x" * (MOST_JOB_CHARACTERS + 1)])
def test_illegal_names(name: str) -> None:
    with pytest.raises(ValueError, match="a job's name"):
        check_job_name(name)
