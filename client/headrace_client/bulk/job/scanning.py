"""Where a job goes on: what of it is on the topics already."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from headrace_client.jobs import Checkpoint, Job, Request
from headrace_client.kafka.reading import TopicReader
from headrace_client.settings import Connection

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


async def note_ends(
    job: Job, connection: Connection, requests_topic: str, result_ends: Mapping[int, int]
) -> None:
    """Note that a new job has nothing on its topics."""
    for partition, end in result_ends.items():
        job.results_read(partition, end)
    async with TopicReader(connection, requests_topic) as reader:
        for partition, each in (await reader.bounds()).items():
            job.requests_scanned(partition, each.end)


async def scan(
    job: Job, connection: Connection, requests_topic: str, checkpoint: Checkpoint, wire_name: str
) -> None:
    """Tell the core which of its requests are on the topic."""
    opening = b'{"custom_id":"%s/' % wire_name.encode()
    prefix_bytes = opening.index(b":") + 2
    async with TopicReader(connection, requests_topic) as reader:
        ends = {number: each.end for number, each in (await reader.bounds()).items()}
        async for records in reader.scan(checkpoint.request_offsets):
            for record in records:
                value = record.value
                if value is None or not value.startswith(opening):
                    continue
                name_end = value.find(b'"', prefix_bytes, _NAME_BYTES)
                name = value[prefix_bytes:name_end].decode(errors="replace")
                request = Request.parse(name, wire_name)
                if request is not None:
                    job.published(request, record.partition, record.offset, _now())
        for number, end in ends.items():
            job.requests_scanned(number, end)


def _now() -> float:
    return asyncio.get_running_loop().time()
