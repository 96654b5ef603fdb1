"""The jobs topic, folded: the newest word counts, and silence is noticed."""

from dataclasses import replace

import pytest

from headrace_client.registry.announcements import Action, Announcement, Command, State
from headrace_client.registry.standing import FORGOTTEN_AFTER_MS, SILENT_AFTER_MS, Registry

NOW_MS = 1_800_000_000_000


def announcement(job: str = "j", state: str = State.RUNNING, at_ms: int = NOW_MS) -> Announcement:
    return Announcement(
        job=job, kind="bulk embed", state=state, started_at_ms=NOW_MS - 1_000, updated_at_ms=at_ms
    )


def command(action: Action, job: str = "j", at_ms: int = NOW_MS) -> Command:
    return Command(job=job, action=action, at_ms=at_ms)


def registry_of(*records: Announcement | Command) -> Registry:
    registry = Registry()
    for each in records:
        registry.take(each.key, each.encode())
    return registry


def test_the_newest_word_on_a_job_counts() -> None:
    registry = registry_of(announcement(), command(Action.PAUSE), announcement(state=State.PAUSED))
    (standing,) = registry.jobs()
    assert standing.announcement.state == State.PAUSED
    assert standing.command is not None
    assert standing.command.action is Action.PAUSE


def test_a_record_without_a_value_forgets_its_key() -> None:
    registry = registry_of(announcement(), command(Action.CANCEL))
    registry.take(b"j/command", None)
    assert registry.command_of("j") is None
    registry.take(b"j", None)
    registry.take(b"unknown", None)
    assert registry.jobs() == []


def test_jobs_come_those_that_began_last_first() -> None:
    early = replace(announcement("early"), started_at_ms=NOW_MS - 9_000)
    registry = registry_of(early, announcement("b"), announcement("a"))
    assert [each.announcement.job for each in registry.jobs()] == ["a", "b", "early"]


def test_a_command_to_a_job_that_nobody_announced_is_no_job() -> None:
    registry = registry_of(command(Action.CANCEL))
    assert registry.jobs() == []
    assert registry.job("j") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"),
        (b"\xff", b"{}"),
        (b"j", b"no json"),
        (b"k", announcement("j").encode()),
        (b"k/command", command(Action.CANCEL, "j").encode()),
        (b"j", command(Action.CANCEL).encode()),
        (b"j/command", announcement().encode()),
    ],
)
def test_what_cannot_be_read_is_passed_over(key: bytes | None, value: bytes) -> None:
    registry = registry_of(announcement("other"))
    registry.take(key, value)
    assert [each.announcement.job for each in registry.jobs()] == ["other"]
    assert registry.unreadable_records == 1


@pytest.mark.parametrize("state", list(State))
def test_only_a_job_that_should_run_is_silent(state: State) -> None:
    (standing,) = registry_of(announcement(state=state)).jobs()
    runs = state in {State.RUNNING, State.DRAINING, State.PAUSED}
    assert standing.silent_since_ms(NOW_MS + SILENT_AFTER_MS) is None
    assert (standing.silent_since_ms(NOW_MS + SILENT_AFTER_MS + 1) == NOW_MS) is runs


def test_a_cancellation_is_under_way_until_the_job_has_ended() -> None:
    (running,) = registry_of(announcement(), command(Action.CANCEL)).jobs()
    (ended,) = registry_of(announcement(state=State.CANCELLED), command(Action.CANCEL)).jobs()
    (paused,) = registry_of(announcement(), command(Action.PAUSE)).jobs()
    assert (running.is_cancelling, ended.is_cancelling, paused.is_cancelling) == (
        True,
        False,
        False,
    )


def test_seven_days_after_the_last_word_job_and_commands_are_to_be_forgotten() -> None:
    registry = registry_of(
        announcement("old", State.DONE),
        command(Action.PAUSE, "old"),
        announcement("dead", State.RUNNING),
        announcement("new", State.DONE, NOW_MS + 1),
        command(Action.CANCEL, "never announced"),
        command(Action.CANCEL, "told lately", NOW_MS + 1),
    )
    then_ms = NOW_MS + FORGOTTEN_AFTER_MS + 1
    assert set(registry.keys_to_forget(then_ms)) == {
        b"old",
        b"old/command",
        b"dead",
        b"never announced/command",
    }
    for key in registry.keys_to_forget(then_ms):
        registry.take(key, None)
    assert registry.keys_to_forget(then_ms) == []
    assert [each.announcement.job for each in registry.jobs()] == ["new"]
