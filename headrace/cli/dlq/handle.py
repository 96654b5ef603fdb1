"""The steps of ``dlq replay`` and ``dlq purge``: look, show the plan, ask, run, report."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import typer

from handoff.clock import SystemClock
from headrace.cli.dlq.options import Filters, choose_inboxes, confirm
from headrace.cli.dlq.output import reading_bar, tally_table
from headrace.cli.output import count, err, print_json, print_line, print_note, record_progress
from headrace.dead_letters import handling
from headrace.dead_letters.handling import Request, Survey
from headrace.dead_letters.inbox import Inbox, open_inbox
from headrace.dead_letters.replay import Targets
from headrace.records.reading import LogReader
from headrace_client.cli.running import EXIT_INTERRUPTED
from schemas.settings.file import KafkaSettings, Settings


@dataclass(frozen=True, slots=True)
class Planned:
    inbox: Inbox
    request: Request
    survey: Survey


class Job(ABC):
    """What a command does to dead letters; ``doing`` is the heading of the progress bar."""

    name: ClassVar[str]
    done: ClassVar[str]
    doing: ClassVar[str]

    def __init__(self, kafka: KafkaSettings, targets: Targets, *, is_clearing: bool) -> None:
        self.kafka = kafka
        self.targets = targets
        self.is_clearing = is_clearing

    def concerns(self, _planned: Planned) -> bool:
        return True

    @abstractmethod
    def notes(self, planned: Planned) -> Iterable[str]:
        """Return what to say about a topic before the question."""

    @abstractmethod
    def to_dict(self, planned: Planned) -> dict[str, Any]:
        """Return a topic's plan as JSON values."""

    @abstractmethod
    def question(self, records: int) -> str:
        """Return what to ask before it is done."""

    @abstractmethod
    async def run(self, planned: Planned, show: Callable[[int, int], None]) -> None:
        """Run it, and show how many dead letters were read and how many of those are done."""

    @abstractmethod
    def report(self, *, is_json: bool) -> None:
        """Print how far it has come."""


def handle(
    job: Job,
    settings: Settings,
    filters: Filters,
    limit: int | None,
    *,
    dry_run: bool,
    yes: bool,
    json: bool,
) -> None:
    now_ms = SystemClock().epoch_ms()
    request = Request(selection=filters.selection(settings, now_ms), limit_records=limit)
    topics = choose_inboxes(settings, filters.route)
    plans = [
        each for each in asyncio.run(_plan(job, topics, request, now_ms)) if job.concerns(each)
    ]
    records = sum(each.survey.tally.records for each in plans)
    if not json or not yes:
        for each in plans:
            err.print(tally_table(each.survey.tally, now_ms, each.inbox.topic))
            for note in job.notes(each):
                print_note(note)
    if dry_run or not any(each.survey.tally.records or each.survey.clear_below for each in plans):
        if json:
            print_json({each.inbox.topic: job.to_dict(each) for each in plans})
        elif dry_run:
            print_line(f"{count(records)} dead letters would be {job.done}")
        else:
            print_line(f"no dead letters to {job.name}")
        return
    confirm(job.question(records), is_sure=yes)
    try:
        try:
            asyncio.run(_run(job, plans, records))
        finally:
            job.report(is_json=json)
    except KeyboardInterrupt:
        print_note("interrupted; run the same command again to go on")
        raise typer.Exit(EXIT_INTERRUPTED) from None


async def open_if_there(reader: LogReader, topic: str, routes: tuple[str, ...]) -> Inbox | None:
    """Open a topic of dead letters; print a note and return ``None`` if it does not exist yet."""
    inbox = await open_inbox(reader, topic, routes)
    if inbox is None:
        print_note(f"no topic {topic} yet: nothing was dead-lettered")
    return inbox


async def _plan(
    job: Job, topics: Mapping[str, tuple[str, ...]], request: Request, now_ms: int
) -> list[Planned]:
    """Look at each topic, and count what to handle there; a limit is over all topics."""
    plans = []
    left_records = request.limit_records
    async with LogReader(job.kafka) as reader:
        for topic, routes in topics.items():
            inbox = await open_if_there(reader, topic, routes)
            if inbox is None:
                continue
            part = replace(request, limit_records=left_records)
            with reading_bar(topic) as progress:
                survey = await handling.survey(
                    reader,
                    inbox,
                    part,
                    targets=job.targets,
                    now_ms=now_ms,
                    is_clearing=job.is_clearing,
                    progress=progress,
                )
            if left_records is not None:
                left_records -= survey.tally.records
            plans.append(Planned(inbox, part, survey))
    return plans


async def _run(job: Job, plans: Sequence[Planned], total_records: int) -> None:
    with record_progress() as bars:
        bar = bars.add_task(job.doing, total=total_records, records=0)
        for each in plans:
            await job.run(
                each, lambda done, records: bars.update(bar, completed=done, records=records)
            )
