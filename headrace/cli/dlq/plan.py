"""What a ``headrace dlq`` command has before it: which topics there are, and what of each fits."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.cli.dlq.output import reading_bar
from headrace.cli.output import print_note
from headrace.dead_letters import handling
from headrace.dead_letters.handling import Request, Survey
from headrace.dead_letters.inbox import Inbox, open_inbox
from headrace.dead_letters.log_reader import LogReader
from headrace.dead_letters.replay import Targets
from schemas.settings.file import KafkaSettings


@dataclass(frozen=True, slots=True)
class Planned:
    """A topic's part of a command: as it was looked at, and what is to be done."""

    inbox: Inbox
    request: Request
    survey: Survey


async def open_if_there(
    kafka: KafkaSettings, reader: LogReader, topic: str, routes: tuple[str, ...]
) -> Inbox | None:
    """Open a topic of dead letters; say so and return ``None`` where it does not exist yet."""
    inbox = await open_inbox(kafka, reader, topic, routes)
    if inbox is None:
        print_note(f"no topic {topic} yet: nothing was dead-lettered")
    return inbox


async def plan(
    kafka: KafkaSettings,
    topics: Mapping[str, tuple[str, ...]],
    request: Request,
    *,
    targets: Targets,
    now_ms: int,
    is_clearing: bool,
) -> list[Planned]:
    """Look at each topic, and count what of it is to be handled; a limit is over all topics."""
    plans = []
    left_records = request.limit_records
    async with LogReader(kafka) as reader:
        for topic, routes in topics.items():
            inbox = await open_if_there(kafka, reader, topic, routes)
            if inbox is None:
                continue
            part = Request(selection=request.selection, limit_records=left_records)
            with reading_bar(topic) as progress:
                found_out = await handling.survey(
                    reader,
                    inbox,
                    part,
                    targets=targets,
                    now_ms=now_ms,
                    is_clearing=is_clearing,
                    progress=progress,
                )
            if left_records is not None:
                left_records -= found_out.tally.records
            plans.append(Planned(inbox, part, found_out))
    return plans
