"""What the console publishes for a job, whatever the job's runner has announced."""

from typing import Any

import pytest

from headrace.console.sources.jobs import KafkaJobs
from headrace_client.registry import telling
from headrace_client.registry.announcements import Action, Announcement, Command, State, Topics
from headrace_client.registry.standing import Registry
from headrace_client.routes import Route
from schemas.settings.file import KafkaSettings

HOSTILE = Announcement(
    job="nightly",
    kind="own",
    state=State.PAUSED,
    started_at_ms=0,
    updated_at_ms=2**50,
    route="embeddings",
    topics=Topics(control="somebody.elses.topic"),
)


@pytest.mark.parametrize(
    ("has_control_topic", "expected"), [(True, ["jobs", "our.control"]), (False, ["jobs"])]
)
async def test_a_control_topic_is_the_running_routes(
    monkeypatch: pytest.MonkeyPatch, has_control_topic: bool, expected: list[str]
) -> None:
    registry = Registry()
    registry.take(HOSTILE.key, HOSTILE.encode())
    topics: list[str] = []

    async def read_registry(*_place: object) -> Registry:
        return registry

    async def publish(_connection: object, topic: str, what: Any) -> None:
        if not topics or isinstance(what, Command) or topics[-1] != topic:
            topics.append(topic)

    async def do_nothing(*_arguments: object) -> bool:
        return True

    monkeypatch.setattr(telling, "read_registry", read_registry)
    monkeypatch.setattr(telling, "forget", do_nothing)
    monkeypatch.setattr(telling, "wait_for_end", do_nothing)
    monkeypatch.setattr(telling, "publish_command", publish)
    monkeypatch.setattr(telling, "publish_cancellation", publish)
    jobs = KafkaJobs(KafkaSettings(bootstrap="127.0.0.1:1"), "jobs")
    control = "our.control" if has_control_topic else None
    route = Route(
        name="embeddings", requests_topic="in", results_topic="out", control_topic=control
    )
    jobs.set_routes({"embeddings": route})

    told = await jobs.tell("nightly", Action.CANCEL, "console@127.0.0.1")

    assert topics == expected
    assert has_control_topic or "no control_topic" in told[-1]
