"""Jobs as rows and lines for a person. Pure: the time and its zone are arguments."""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

from headrace_client.registry.announcements import Announcement, Counts
from headrace_client.registry.standing import JobStanding

COLUMNS = ("job", "state", "age", "done", "failed", "rate", "to go", "deadline")
_STEPS = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))
_UNITS_S = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_LEAST_OF_UNIT = 2
"""A duration is told in a unit of which there are at least two: 90 min, not 2 h."""


def row(standing: JobStanding, now_ms: int) -> tuple[str, ...]:
    """Return the cells of ``COLUMNS``."""
    job = standing.announcement
    since_ms = standing.silent_since_ms(now_ms)
    runs = job.is_running and since_ms is None
    ends = ends_at_ms(job)
    counts = _counts_of(job)
    return (
        printable(job.job),
        _state(standing) if since_ms is None else f"silent {_ago(since_ms, now_ms)}",
        _ago(job.started_at_ms, now_ms),
        "" if counts is None else _done(counts),
        short(counts.failed) if counts is not None and counts.failed else "",
        f"{short(job.rate_per_s)}/s" if runs and job.rate_per_s is not None else "",
        duration((ends - now_ms) / 1000) if runs and ends is not None else "",
        _deadline(job, now_ms),
    )


def state(standing: JobStanding, now_ms: int) -> str:
    """Return the state, and what is odd about it: that nobody answers for the job any more."""
    since_ms = standing.silent_since_ms(now_ms)
    if since_ms is None:
        return _state(standing)
    return f"{_state(standing)}; its runner has been silent for {_ago(since_ms, now_ms)}"


def ends_at_ms(job: Announcement) -> int | None:
    if job.eta_s is None or job.is_finished:
        return None
    return job.updated_at_ms + int(job.eta_s * 1000)


def lines(standing: JobStanding, now_ms: int, zone: tzinfo) -> list[tuple[str, str]]:
    """Return all that is known of a job, as names and values."""
    job = standing.announcement

    def moment(at_ms: int) -> str:
        at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
        return f"{at:%Y-%m-%d %H:%M:%S}, {_until(at_ms, now_ms)}"

    ends = ends_at_ms(job)
    unit = "rows" if job.rows else "items" if job.items else "requests"
    rates = [(job.rate_per_s, f"{unit}/s"), (job.tokens_per_s, "tokens/s")]
    topics = {
        "requests": job.topics.requests,
        "results": job.topics.results,
        "control": job.topics.control,
    }
    found = [
        ("job", job.job),
        ("about", job.description),
        ("state", state(standing, now_ms)),
        ("kind", job.kind),
        ("runner", f"{job.user}@{job.host}" if job.host else job.user),
        ("began", moment(job.started_at_ms)),
        ("route", job.route or ""),
        *((f"{name} topic", topic or "") for name, topic in topics.items()),
        ("weight", f"{job.weight}"),
        ("rows", _counted(job.rows)),
        ("items", _counted(job.items)),
        ("requests", _counted(job.requests)),
        ("rate", ", ".join(f"{rate:,.1f} {unit}" for rate, unit in rates if rate is not None)),
        ("ends", "" if ends is None else moment(ends)),
        ("deadline", "" if job.deadline_ms is None else moment(job.deadline_ms)),
        *(("waits for", each) for each in job.waits_for),
        ("told", _told(standing, moment)),
        ("last word", moment(job.updated_at_ms)),
    ]
    return [(name, printable(value)) for name, value in found if value]


def short(number: float) -> str:
    """Return a number in at most five characters: 1.2 M is 1.2M."""
    for size, letter in _STEPS:
        if number >= size:
            part = number / size
            return f"{part:.1f}{letter}" if part < 10 else f"{part:.0f}{letter}"
    return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def duration(seconds: float) -> str:
    """Return a duration in one unit: 75 s, 90 min, 36 h, 7 d."""
    seconds = max(0.0, seconds)
    for size, unit in _UNITS_S:
        if seconds >= _LEAST_OF_UNIT * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def printable(text: str) -> str:
    """Return what somebody wrote without control characters for a terminal."""
    return "".join(each if each.isprintable() else "·" for each in text)


def _state(standing: JobStanding) -> str:
    return "cancelling" if standing.is_cancelling else printable(standing.announcement.state)


def _counts_of(job: Announcement) -> Counts | None:
    return job.rows or job.items or job.requests


def _done(counts: Counts) -> str:
    if not counts.total:
        return short(counts.done)
    share = int(100 * min(1.0, (counts.done + counts.failed) / counts.total))
    return f"{share}% of {short(counts.total)}"


def _deadline(job: Announcement, now_ms: int) -> str:
    if job.deadline_ms is None or job.is_finished:
        return ""
    left_s = (job.deadline_ms - now_ms) / 1000
    return f"in {duration(left_s)}" if left_s > 0 else "over"


def _ago(at_ms: int, now_ms: int) -> str:
    return duration((now_ms - at_ms) / 1000)


def _until(at_ms: int, now_ms: int) -> str:
    if at_ms >= now_ms:
        return f"in {duration((at_ms - now_ms) / 1000)}"
    return f"{_ago(at_ms, now_ms)} ago"


def _counted(counts: Counts | None) -> str:
    if counts is None:
        return ""
    total = "" if counts.total is None else f" of {counts.total:,}"
    return f"{counts.done:,} done{total}, {counts.sent:,} sent, {counts.failed:,} failed"


def _told(standing: JobStanding, moment: Callable[[int], str]) -> str:
    command = standing.command
    if command is None:
        return ""
    by = f" by {command.by}" if command.by else ""
    return f"{command.action}{by}, {moment(command.at_ms)}"
