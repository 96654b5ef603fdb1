"""Jobs in Prometheus' format, as its own parser reads them."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from headrace_client.registry.announcements import Announcement, Counts, State
from headrace_client.registry.exposition import exposition
from headrace_client.registry.standing import SILENT_AFTER_MS, JobStanding

NOW_MS = 1_800_000_000_000


def job(name: str, state: State, **changes: object) -> JobStanding:
    values = {"kind": "bulk embed", "started_at_ms": 0, "updated_at_ms": NOW_MS, **changes}
    return JobStanding(Announcement(job=name, state=state, **values))  # type: ignore[arg-type]


def parsed(standings: Iterable[JobStanding]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(exposition(standings, NOW_MS))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def test_running_jobs_are_counted_with_what_they_have_done() -> None:
    found = parsed(
        [
            job(
                "a", State.RUNNING, rows=Counts(total=10, sent=6, done=4, failed=1), rate_per_s=2.5
            ),
            job("b", State.PAUSED, requests=Counts(sent=3)),
            job("c", State.RUNNING, updated_at_ms=NOW_MS - SILENT_AFTER_MS - 1),
            job("d", State.DONE, rows=Counts(total=10, done=10)),
        ]
    )
    assert found["headrace_jobs", labels(state="running")] == 2
    assert found["headrace_jobs", labels(state="interrupted")] == 0
    assert found["headrace_silent_jobs", labels()] == 1
    done = labels(job="a", unit="rows", count="done")
    assert found["headrace_job_records", done] == 4
    assert found["headrace_job_records_per_second", labels(job="a")] == 2.5
    sent = labels(job="b", unit="requests", count="sent")
    assert found["headrace_job_records", sent] == 3
    assert found["headrace_job_updated_timestamp_seconds", labels(job="b")] == NOW_MS / 1000
    assert not any(("job", "d") in of for _, of in found)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=30))
def test_any_name_is_one_label(name: str) -> None:
    found = parsed([job(name, State.RUNNING)])
    assert ("headrace_job_updated_timestamp_seconds", labels(job=name)) in found


def test_without_jobs_there_are_counts_of_none() -> None:
    found = parsed([])
    assert set(found.values()) == {0}
    assert ("headrace_silent_jobs", labels()) in found
