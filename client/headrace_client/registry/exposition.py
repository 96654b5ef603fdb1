"""Jobs in Prometheus' text format. Pure.

Only jobs that are not finished have series, so there are as many as jobs that run.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from headrace_client.registry.announcements import FINISHED, Counts, State
from headrace_client.registry.standing import JobStanding

_OPEN_STATES = [each for each in State if each not in FINISHED]
_UNITS = ("rows", "items", "requests")


def exposition(standings: Iterable[JobStanding], now_ms: int) -> str:
    """Return the metrics of jobs that are not finished, as a scrape or a textfile has them."""
    found = [each for each in standings if not each.announcement.is_finished]
    return "".join(f"{line}\n" for line in _lines(found, now_ms))


def _lines(standings: list[JobStanding], now_ms: int) -> Iterator[str]:
    states = Counter(each.announcement.state for each in standings)
    yield from _head("jobs", "jobs that are not finished, by state")
    for state in _OPEN_STATES:
        yield _sample("jobs", states[state], state=state.value)
    silent = sum(each.silent_since_ms(now_ms) is not None for each in standings)
    yield from _head("silent_jobs", "jobs that should run, and whose runner says nothing")
    yield _sample("silent_jobs", silent)
    yield from _head("job_records", "rows, items and requests of a job: total, sent, done, failed")
    for standing in standings:
        job = standing.announcement
        for unit in _UNITS:
            for count, value in _counts(getattr(job, unit)):
                yield _sample("job_records", value, job=job.job, unit=unit, count=count)
    yield from _head("job_records_per_second", "rows done a second, lately")
    for standing in standings:
        if (rate := standing.announcement.rate_per_s) is not None:
            yield _sample("job_records_per_second", rate, job=standing.announcement.job)
    yield from _head("job_updated_timestamp_seconds", "when a job's runner last announced it")
    for standing in standings:
        job = standing.announcement
        yield _sample("job_updated_timestamp_seconds", job.updated_at_ms / 1000, job=job.job)


def _counts(counts: Counts | None) -> Iterator[tuple[str, int]]:
    if counts is None:
        return
    if counts.total is not None:
        yield "total", counts.total
    yield from (("sent", counts.sent), ("done", counts.done), ("failed", counts.failed))


def _head(name: str, text: str) -> tuple[str, str]:
    return f"# HELP headrace_{name} {text}", f"# TYPE headrace_{name} gauge"


def _sample(name: str, value: float, **labels: str) -> str:
    named = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"headrace_{name}{{{named}}} {value}" if named else f"headrace_{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
