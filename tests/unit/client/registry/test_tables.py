"""What a person reads of a job."""

from dataclasses import replace
from datetime import UTC

import pytest

from headrace_client.registry.announcements import Action, Announcement, Command, Counts, State
from headrace_client.registry.standing import JobStanding
from headrace_client.registry.tables import COLUMNS, duration, lines, row, short

NOW_MS = 1_800_000_000_000
RUNNING = Announcement(
    job="nightly",
    kind="bulk embed",
    state=State.RUNNING,
    started_at_ms=NOW_MS - 720_000,
    updated_at_ms=NOW_MS - 3_000,
    rows=Counts(total=1_000_000, sent=500_000, done=412_000, failed=12),
    rate_per_s=1_310.0,
    eta_s=450.0,
    deadline_ms=NOW_MS + 9 * 3_600_000,
)


def cells(announcement: Announcement, command: Command | None = None) -> dict[str, str]:
    return dict(zip(COLUMNS, row(JobStanding(announcement, command), NOW_MS), strict=True))


def test_a_running_job() -> None:
    assert cells(RUNNING) == {
        "job": "nightly",
        "state": "running",
        "age": "12 min",
        "done": "41% of 1.0M",
        "failed": "12",
        "rate": "1.3k/s",
        "to go": "7 min",
        "deadline": "in 9 h",
    }


def test_a_silent_job_has_no_rate_and_no_end() -> None:
    silent = cells(replace(RUNNING, updated_at_ms=NOW_MS - 200_000))
    assert silent["state"] == "silent 3 min"
    assert (silent["rate"], silent["to go"]) == ("", "")


def test_a_finished_job_has_no_end_and_no_deadline() -> None:
    done = cells(replace(RUNNING, state=State.DONE, updated_at_ms=NOW_MS - 900_000_000))
    assert done["state"] == "done"
    assert (done["to go"], done["deadline"]) == ("", "")


def test_a_deadline_that_has_passed() -> None:
    assert cells(replace(RUNNING, deadline_ms=NOW_MS - 1))["deadline"] == "over"


def test_a_job_that_is_to_be_cancelled() -> None:
    command = Command(job="nightly", action=Action.CANCEL, at_ms=NOW_MS)
    assert cells(RUNNING, command)["state"] == "cancelling"


@pytest.mark.parametrize(
    ("rows", "items", "done", "failed"),
    [
        (None, None, "", ""),
        (Counts(done=7), None, "7", ""),
        (Counts(total=0), None, "0", ""),
        (None, Counts(total=200, done=100), "50% of 200", ""),
        (Counts(total=10, done=9, failed=1), Counts(), "100% of 10", "1"),
        (Counts(total=10, done=12), None, "100% of 10", ""),
    ],
)
def test_how_far_it_is(rows: Counts | None, items: Counts | None, done: str, failed: str) -> None:
    found = cells(replace(RUNNING, rows=rows, items=items))
    assert (found["done"], found["failed"]) == (done, failed)


def test_all_that_is_known() -> None:
    command = Command(job="nightly", action=Action.PAUSE, at_ms=NOW_MS - 60_000, by="ada@node-1")
    job = replace(RUNNING, waits_for=("broker: none answers", "results"), user="ada", host="node-1")
    found = lines(JobStanding(job, command), NOW_MS, UTC)
    assert ("rows", "412,000 done of 1,000,000, 500,000 sent, 12 failed") in found
    assert ("runner", "ada@node-1") in found
    assert ("began", "2027-01-15 07:48:00, 12 min ago") in found
    assert ("told", "pause by ada@node-1, 2027-01-15 07:59:00, 60 s ago") in found
    assert [value for name, value in found if name == "waits for"] == [
        "broker: none answers",
        "results",
    ]


def test_what_a_stranger_wrote_does_not_reach_the_terminal() -> None:
    rude = replace(RUNNING, job="a\x1b[31m", description="b\x07", waits_for=("c\r",))
    assert cells(rude)["job"] == "a·[31m"
    assert all(value.isprintable() for _, value in lines(JobStanding(rude), NOW_MS, UTC))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0"), (0.25, "0.2"), (9.96, "10.0"), (999, "999")),
        *((1_310, "1.3k"), (412_000, "412k"), (1_000_000, "1.0M"), (2.5e9, "2.5G")),
    ],
)
def test_short_numbers(number: float, text: str) -> None:
    assert short(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-1, "0 s"), (1, "1 s"), (119, "119 s"), (120, "2 min")),
        *((7_199, "120 min"), (7_200, "2 h"), (172_800, "2 d")),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
