"""Where a job goes on: what of it is on the topics already."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from headrace_client.jobs import Checkpoint, Job, JobSettings, Request
from headrace_client.kafka.reading import LogRange, TopicReader

_NAME_BYTES = 1_024


def core_of(kept: Mapping[str, Any] | None, topics: Mapping[str, str]) -> Checkpoint | None:
    """Return the core's checkpoint of a round; ``None`` if the round is new.

    Offsets of other topics than ``topics`` say nothing: what was on its way there is sent again.
    A job that was cancelled or expired goes on.
    """
    if kept is None or "core" not in kept:
        return None
    checkpoint = Checkpoint.from_dict(kept["core"])
    if kept.get("topics") != dict(topics):
        checkpoint = replace(checkpoint, request_offsets={}, result_offsets={})
    if checkpoint.ending is not None:
        # What was on its way has been cancelled or has expired, and is sent again.
        return checkpoint.again()
    return replace(checkpoint, paused=False)


class GoingOn(NamedTuple):
    """Where a log is read on; ``is_broken`` if something before that is gone."""

    positions: dict[int, int]
    is_broken: bool


def going_on(
    kept: Mapping[int, int], bounds: Mapping[int, LogRange], *, is_same_topic: bool
) -> GoingOn:
    """Return where to go on in a log, which may have been cut or made anew meanwhile.

    A partition that ``kept`` does not know is read from its start.
    """
    if not is_same_topic:
        return GoingOn({number: each.start for number, each in bounds.items()}, is_broken=True)
    wanted = {number: kept.get(number, 0) for number in bounds}
    fits = {
        number: bounds[number].start <= at <= bounds[number].end for number, at in wanted.items()
    }
    positions = {
        number: at if fits[number] else bounds[number].start for number, at in wanted.items()
    }
    return GoingOn(positions, is_broken=not all(fits.values()) or not kept.keys() <= bounds.keys())


async def begin(settings: JobSettings, requests: TopicReader, results: TopicReader) -> Job:
    """Return a new job, which has nothing on its topics, and read results from here on."""
    job = Job(settings, None, _now())
    for partition, end in (await results.assign_ends()).items():
        job.results_read(partition, end)
    for partition, each in (await requests.bounds()).items():
        job.requests_scanned(partition, each.end)
    return job


async def go_on(
    settings: JobSettings,
    checkpoint: Checkpoint,
    requests: TopicReader,
    results: TopicReader,
    *,
    new_topics: Collection[str],
    wire_name: str,
    say: Callable[[str], None],
) -> Job:
    """Return the job as its checkpoint and its topics have it, and read results from there on.

    ``new_topics`` are those of "requests" and "results" that were made anew meanwhile.
    """
    asked = going_on(
        checkpoint.request_offsets,
        await requests.bounds(),
        is_same_topic="requests" not in new_topics,
    )
    # What is gone and was not answered is not found, and sent again.
    job = Job(settings, replace(checkpoint, request_offsets=asked.positions), _now())
    await _scan(job, requests, asked.positions, wire_name)
    answered = going_on(
        checkpoint.result_offsets,
        await results.bounds(),
        is_same_topic="results" not in new_topics,
    )
    if answered.is_broken and job.results_lost(answered.positions):
        say(results_are_gone(results.topic))
    results.assign(answered.positions)
    return job


def results_are_gone(topic: str) -> str:
    return (
        f"results on {topic} are gone before this job read them (its retention, or the topic was "
        "made anew): what was not answered is sent again"
    )


async def _scan(job: Job, requests: TopicReader, starts: Mapping[int, int], wire_name: str) -> None:
    opening = b'{"custom_id":' + orjson.dumps(wire_name)[:-1] + b"/"
    ends = {number: each.end for number, each in (await requests.bounds()).items()}
    async for records in requests.scan(starts):
        for record in records:
            value = record.value
            if value is None or not value.startswith(opening):
                continue
            name_end = value.find(b'"', len(opening), _NAME_BYTES)
            items = value[len(opening) : name_end].decode(errors="replace")
            request = Request.parse(f"{wire_name}/{items}", wire_name)
            if request is not None:
                job.published(request, record.partition, record.offset, _now())
    for number, end in ends.items():
        job.requests_scanned(number, end)


def _now() -> float:
    return asyncio.get_running_loop().time()
