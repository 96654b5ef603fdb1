"""`headrace jobs`, without a broker: what is printed, and what is told to whom."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from headrace_client.cli import jobs
from headrace_client.errors import ClientError, MissingTopicError, RouteError
from headrace_client.registry import telling
from headrace_client.registry.announcements import Announcement, Command, Counts, State, Topics
from headrace_client.registry.standing import Registry
from headrace_client.settings import Connection
from headrace_client.wire.requests import ControlRecord

NOW_MS = 1_800_000_000_000
SETTINGS = """\
kafka: {bootstrap: "127.0.0.1:1"}
jobs: {topic: our.jobs}
models: {m: {kind: embedder, source: x}}
routes:
  embeddings:
    {model: m, requests_topic: in, results_topic: out, dead_letters_topic: dead, group: g,
     control_topic: control}
  plain: {model: m, requests_topic: in2, results_topic: out2, dead_letters_topic: dead, group: g2}
"""
RUNNING = Announcement(
    job="a-job-with-a-rather-long-name-2026-11-29",
    kind="bulk embed",
    state=State.RUNNING,
    started_at_ms=NOW_MS - 720_000,
    updated_at_ms=NOW_MS - 3_000,
    route="embeddings",
    topics=Topics(requests="in", results="out", control="announced.control"),
    rows=Counts(total=1_000_000, sent=500_000, done=412_000, failed=12_345),
    rate_per_s=1_310.0,
    eta_s=450.0,
    deadline_ms=NOW_MS + 9 * 3_600_000,
    waits_for=("a broker: 127.0.0.1:9092 does not answer; check kafka.bootstrap and the brokers",),
)
DONE = replace(RUNNING, job="done", state=State.DONE, updated_at_ms=NOW_MS - 60_000)


class World:
    """The registry, and what was published."""

    def __init__(self) -> None:
        self.registry: Registry | None = Registry()
        self.published: list[tuple[str, Any]] = []
        self.forgotten: list[bytes] = []
        self.ends = True

    def announce(self, *announcements: Announcement) -> None:
        assert self.registry is not None
        for each in announcements:
            self.registry.take(each.key, each.encode())

    async def read_registry(self, connection: Connection, topic: str) -> Registry:
        assert (connection.bootstrap, topic) == ("127.0.0.1:1", "our.jobs")
        if self.registry is None:
            raise MissingTopicError("there is no topic our.jobs")
        return self.registry

    async def forget(self, _connection: Connection, _topic: str, keys: Iterable[bytes]) -> None:
        self.forgotten += keys

    async def publish_command(self, _connection: Connection, topic: str, command: Command) -> None:
        self.published.append((topic, command))

    async def publish_cancellation(
        self, _connection: Connection, topic: str, cancellation: ControlRecord
    ) -> None:
        self.published.append((topic, cancellation))

    async def wait_for_end(self, *_of_job: object) -> bool:
        return self.ends

    @property
    def told(self) -> list[tuple[str, str]]:
        return [
            (topic, each.action if isinstance(each, Command) else each.key.decode())
            for topic, each in self.published
        ]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for name in (
        "read_registry",
        "forget",
        "publish_command",
        "publish_cancellation",
        "wait_for_end",
    ):
        monkeypatch.setattr(telling, name, getattr(made, name))
    for module in (jobs, telling):
        monkeypatch.setattr(module, "epoch_ms", lambda: NOW_MS)
    monkeypatch.setenv("COLUMNS", "80")
    return made


@pytest.fixture
def run(tmp_path: Path, world: World) -> Any:
    settings = tmp_path / "headrace.yaml"
    settings.write_text(SETTINGS)

    def of(command: str, *arguments: str) -> Result:
        runner = CliRunner()
        return runner.invoke(jobs.jobs_app, [command, "--config", str(settings), *arguments])

    return of


def test_the_table_fits_80_columns_and_cuts_nothing(run: Any, world: World) -> None:
    silent = replace(RUNNING, job="silent", updated_at_ms=NOW_MS - 400_000)
    world.announce(RUNNING, silent, DONE)
    result = run("list")
    assert result.exit_code == 0
    assert all(len(each) <= 80 for each in result.stdout.splitlines())
    assert "…" not in result.stdout
    words = result.stdout.split()
    assert "1.3k/s" in words
    assert "silent" in words
    assert words.count("done") == 1  # the column


def test_finished_ones_are_listed_on_request(run: Any, world: World) -> None:
    world.announce(DONE)
    assert "1 finished: see --all" in run("list").stderr
    assert "done" in run("list", "--all").stdout.splitlines()[-1]


def test_json_has_everything(run: Any, world: World) -> None:
    world.announce(RUNNING)
    (found,) = orjson.loads(run("list", "--json").stdout)
    assert found["rows"]["failed"] == 12_345
    assert found["silent_since_ms"] is None
    assert orjson.loads(run("show", RUNNING.job, "--json").stdout) == found


def test_show_says_what_it_waits_for(run: Any, world: World) -> None:
    world.announce(RUNNING)
    result = run("show", RUNNING.job)
    assert all(len(each) <= 80 for each in result.stdout.splitlines())
    assert "does not answer" in " ".join(result.stdout.split())


def test_jobs_that_nobody_spoke_of_for_a_week_are_forgotten(run: Any, world: World) -> None:
    world.announce(replace(DONE, updated_at_ms=NOW_MS - 8 * 24 * 3_600_000))
    assert run("list", "--all").stdout == ""
    assert world.forgotten == [b"done"]


def test_pause_and_resume_are_told_to_the_runner(run: Any, world: World) -> None:
    world.announce(RUNNING)
    assert "hears `pause` within seconds" in run("pause", RUNNING.job).stdout
    assert run("resume", RUNNING.job).exit_code == 0
    assert world.told == [("our.jobs", "pause"), ("our.jobs", "resume")]


def test_cancel_tells_the_runner_and_the_service_and_again_when_the_runner_has_ended(
    run: Any, world: World
) -> None:
    world.announce(RUNNING)
    result = run("cancel", RUNNING.job)
    assert "its runner has ended" in result.stdout
    control = ("control", f"embeddings/job {RUNNING.job}")
    assert world.told == [("our.jobs", "cancel"), control, control]


def test_cancel_works_where_the_runner_is_dead(run: Any, world: World) -> None:
    world.announce(replace(RUNNING, updated_at_ms=NOW_MS - 400_000))
    result = run("cancel", RUNNING.job)
    assert "silent for 7 min: it hears `cancel` when it starts again" in result.stdout
    assert world.told == [
        ("our.jobs", "cancel"),
        ("control", f"embeddings/job {RUNNING.job}"),
    ]


def test_the_announced_control_topic_counts_where_the_settings_do_not_have_it(
    run: Any, world: World
) -> None:
    world.announce(replace(RUNNING, route="elsewhere"))
    assert run("cancel", RUNNING.job).exit_code == 0
    control = ("announced.control", f"elsewhere/job {RUNNING.job}")
    assert world.told == [("our.jobs", "cancel"), control, control]


@pytest.mark.parametrize("has_topic", [True, False])
def test_cancel_works_where_nobody_announced_the_job(
    run: Any, world: World, has_topic: bool
) -> None:
    if not has_topic:
        world.registry = None
    assert run("cancel", "theirs", "--route", "embeddings").exit_code == 0
    assert world.told == [("control", "embeddings/job theirs")]


def test_without_a_control_topic_only_the_runner_is_told_and_that_is_said(
    run: Any, world: World
) -> None:
    world.announce(replace(RUNNING, route="plain", topics=Topics()))
    result = run("cancel", RUNNING.job)
    assert "what is published of the job is still computed" in result.stdout
    assert world.told == [("our.jobs", "cancel")]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("cancel", "theirs", "--route", "plain"), ClientError, "no control_topic"),
        (("cancel", "theirs"), RouteError, "several routes"),
        (("cancel", "theirs", "--route", "nope"), RouteError, "no route 'nope'"),
        (("cancel", "done"), ClientError, "job done is done already"),
        (("pause", "done"), ClientError, "job done is done already"),
        (("show", "doen"), ClientError, "there are done"),
    ],
)
def test_what_cannot_be_done_says_why(
    run: Any, world: World, arguments: tuple[str, ...], error: type[Exception], words: str
) -> None:
    world.announce(DONE)
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)
    assert world.published == []


def test_a_topic_that_is_missing_is_an_error_of_the_list(run: Any, world: World) -> None:
    world.registry = None
    assert isinstance(run("list").exception, MissingTopicError)
