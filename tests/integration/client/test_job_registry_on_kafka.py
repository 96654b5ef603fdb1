"""The registry of jobs on a real broker: announcing, listing, telling runners."""

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from consumer.kafka.admin.admin import TopicAdmin as ServiceTopicAdmin
from headrace.cli import main
from headrace.settings.file import load_settings as load_service_settings
from headrace_client.clock import epoch_ms
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.kafka.reading import TopicReader
from headrace_client.kafka.topics import TopicAdmin
from headrace_client.registry import announcing
from headrace_client.registry.announcements import (
    Action,
    Announcement,
    Command,
    Counts,
    State,
    Topics,
)
from headrace_client.registry.announcing import Announcer
from headrace_client.registry.commanding import publish_command
from headrace_client.registry.listing import read_registry, wait_for_end
from headrace_client.registry.standing import FORGOTTEN_AFTER_MS
from headrace_client.settings import ClientSettings, load_settings
from schemas.wire.control import parse_control_record
from tests.brokers import TestBroker

pytestmark = pytest.mark.kafka

PATIENCE_S = 60.0
SETTINGS = """\
kafka: {bootstrap: BOOTSTRAP}
jobs: {topic: ID.jobs}
models:
  m: {kind: embedder, source: "wheel:x"}
routes:
  it: {model: m, group: ID.g, requests_topic: ID.in, results_topic: ID.out,
    dead_letters_topic: ID.dead, control_topic: ID.control}
"""


class Place:
    """A settings file, whose topics exist once ``create`` was called."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        self.file = directory / "headrace.yaml"
        text = SETTINGS.replace("BOOTSTRAP", bootstrap).replace("ID", uuid.uuid4().hex)
        self.file.write_text(text)
        self.settings: ClientSettings = load_settings(self.file, {})

    @property
    def topic(self) -> str:
        return self.settings.jobs_topic

    async def create(self) -> None:
        await self.command("topics", "create")

    async def command(self, *arguments: str) -> int:
        """Run a command as a user does; return its exit status."""
        try:
            await asyncio.to_thread(main, [*arguments, "--config", str(self.file)])
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    def announcer(self, job: str) -> Announcer:
        return Announcer(self.settings.connection, job, epoch_ms, topic=self.topic)

    async def standing(self, job: str, is_wanted: Callable[[Announcement], bool]) -> Any:
        """Return how a job stands once that is as wanted."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = (await read_registry(self.settings.connection, self.topic)).job(job)
                if found is not None and is_wanted(found.announcement):
                    return found
                await asyncio.sleep(0.2)


@pytest.fixture
def place(kafka_broker: TestBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("COLUMNS", "80")
    return Place(kafka_broker.bootstrap, tmp_path)


def announcement(job: str, state: str = State.RUNNING, done: int = 0) -> Announcement:
    return Announcement(
        job=job,
        kind="bulk embed",
        state=state,
        started_at_ms=epoch_ms(),
        route="it",
        topics=Topics(requests="in", results="out"),
        rows=Counts(total=100, sent=50, done=done),
    )


async def hear(announcer: Announcer, job: str, state: str = State.RUNNING) -> list[Command]:
    async with asyncio.timeout(PATIENCE_S):
        while not (heard := announcer.announce(announcement(job, state))):
            await asyncio.sleep(0.2)
    return heard


async def test_the_topic_is_made_with_the_others_and_compacted(place: Place) -> None:
    await place.create()
    async with ServiceTopicAdmin(load_service_settings(place.file).kafka) as admin:
        found = await admin.topic_settings([place.topic])
        (info,) = (await admin.describe_topics([place.topic])).values()
    assert found[place.topic]["cleanup.policy"] == "compact"
    assert info is not None
    assert info.partitions == 1


async def test_a_job_is_announced_told_and_ended(place: Place, capfd: Any) -> None:
    await place.create()
    async with place.announcer("nightly") as announcer:
        assert announcer.announce(announcement("nightly", done=10)) == []
        found = await place.standing(
            "nightly", lambda each: each.rows == Counts(total=100, sent=50, done=10)
        )
        assert found.announcement.updated_at_ms > 0

        assert await place.command("jobs", "pause", "nightly") == 0
        assert [each.action for each in await hear(announcer, "nightly")] == [Action.PAUSE]
        assert await place.command("jobs", "resume", "nightly") == 0
        (resumed,) = await hear(announcer, "nightly")
        assert resumed.action is Action.RESUME
        assert "@" in resumed.by

        capfd.readouterr()
        assert await place.command("jobs", "list") == 0
        table = capfd.readouterr().out
        assert "nightly" in table
        assert all(len(line) <= 80 for line in table.splitlines())

        announcer.announce(announcement("nightly", State.DONE, done=100))
    registry = await read_registry(place.settings.connection, place.topic)
    assert registry.job("nightly") is not None
    assert registry.command_of("nightly") is None

    capfd.readouterr()
    assert await place.command("jobs", "list", "--json") == 0
    assert orjson.loads(capfd.readouterr().out) == []
    assert await place.command("jobs", "show", "nightly", "--json") == 0
    assert orjson.loads(capfd.readouterr().out)["rows"]["done"] == 100
    assert await place.command("jobs", "cancel", "nightly") == 2
    assert "is done already" in capfd.readouterr().err


async def test_a_job_whose_runner_is_dead_is_cancelled_and_its_next_runner_hears_it(
    place: Place,
) -> None:
    await place.create()
    async with RequestPublisher(place.settings.connection, place.topic) as publisher:
        silent = announcement("silent").at(epoch_ms() - 60_000)
        await publisher.publish(silent.encode(), key=silent.key)
    began_ms = epoch_ms()
    assert await place.command("jobs", "cancel", "silent") == 0

    control = place.settings.routes["it"].control_topic
    assert control is not None
    async with TopicReader(place.settings.connection, control) as reader:
        starts = {number: each.start for number, each in (await reader.bounds()).items()}
        records = [each async for batch in reader.scan(starts) for each in batch]
    (record,) = records
    assert parse_control_record(record.value).job == "silent"
    assert record.timestamp_ms >= began_ms

    async with place.announcer("silent") as announcer:
        assert [each.action for each in await hear(announcer, "silent")] == [Action.CANCEL]
        announcer.announce(announcement("silent", State.CANCELLED))
    async with place.announcer("silent") as again:
        again.announce(announcement("silent"))
        await place.standing("silent", lambda each: each.state == State.RUNNING)
        assert again.announce(announcement("silent")) == []


async def test_cancel_waits_until_the_runner_has_ended(place: Place, capfd: Any) -> None:
    await place.create()

    async def run() -> None:
        async with place.announcer("j") as announcer:
            heard = await hear(announcer, "j")
            assert heard[-1].action is Action.CANCEL
            announcer.announce(announcement("j", State.CANCELLED))

    runner = asyncio.create_task(run())
    await place.standing("j", lambda each: each.is_running)
    assert await place.command("jobs", "cancel", "j") == 0
    await runner
    assert "its runner has ended" in capfd.readouterr().out
    assert await wait_for_end(place.settings.connection, place.topic, "j", 5.0)


async def test_a_resumed_job_does_not_hear_resume_again_but_pause_it_does(place: Place) -> None:
    await place.create()
    connection, topic = place.settings.connection, place.topic
    for job, action in (("paused", Action.PAUSE), ("resumed", Action.RESUME)):
        await publish_command(connection, topic, Command(job=job, action=action, at_ms=epoch_ms()))
    async with place.announcer("paused") as paused, place.announcer("resumed") as resumed:
        assert [each.action for each in await hear(paused, "paused")] == [Action.PAUSE]
        assert resumed.announce(announcement("resumed")) == []
        await place.standing("resumed", lambda each: each.is_running)
        assert resumed.announce(announcement("resumed")) == []


async def test_old_jobs_are_forgotten_by_whoever_comes(place: Place) -> None:
    await place.create()
    old = announcement("old", State.DONE).at(epoch_ms() - FORGOTTEN_AFTER_MS - 60_000)
    async with RequestPublisher(place.settings.connection, place.topic) as publisher:
        await publisher.publish(old.encode(), key=old.key)
    async with place.announcer("new") as announcer:
        announcer.announce(announcement("new"))
        await place.standing("new", lambda each: each.is_running)
    registry = await read_registry(place.settings.connection, place.topic)
    assert [each.announcement.job for each in registry.jobs()] == ["new"]


async def test_without_the_topic_a_job_runs_unannounced_and_nothing_is_created(
    place: Place, capfd: Any
) -> None:
    async with place.announcer("j") as announcer:
        async with asyncio.timeout(PATIENCE_S):
            while announcer.problem is None:
                assert announcer.announce(announcement("j")) == []
                await asyncio.sleep(0.1)
        assert "headrace topics create" in announcer.problem
    async with TopicAdmin(place.settings.connection) as admin:
        assert await admin.describe([place.topic]) == {place.topic: None}
    assert await place.command("jobs", "list") == 2
    assert "headrace topics create" in capfd.readouterr().err


async def test_a_job_is_announced_once_the_topic_is_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "_TRY_AGAIN_S", 0.2)
    async with place.announcer("j") as announcer:
        async with asyncio.timeout(PATIENCE_S):
            while announcer.problem is None:
                await asyncio.sleep(0.1)
        await place.create()
        announcer.announce(announcement("j"))
        await place.standing("j", lambda each: each.is_running)
