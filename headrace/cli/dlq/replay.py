"""``headrace dlq replay``: publishes dead letters again as requests."""

import asyncio
from typing import Annotated

import typer

from handoff.clock import SystemClock
from headrace.cli.dlq.options import (
    CustomIdOption,
    DlqRouteOption,
    DryRunOption,
    ErrorOption,
    LimitOption,
    NewerOption,
    OlderOption,
    YesOption,
    choose_inboxes,
    confirm,
    make_selection,
)
from headrace.cli.dlq.output import survey_notes, tally_table
from headrace.cli.dlq.plan import Planned, plan
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import (
    count,
    err,
    out,
    print_error,
    print_json,
    print_note,
    record_progress,
)
from headrace.dead_letters import handling
from headrace.dead_letters.handling import Request
from headrace.dead_letters.replay import Pace, ReplayReport, Targets
from headrace.errors import UserError
from schemas.settings.file import KafkaSettings, Settings

EXIT_INTERRUPTED = 130


def replay(  # noqa: PLR0913, PLR0917 - a parameter is an option
    error: ErrorOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    custom_id: CustomIdOption = None,
    route: DlqRouteOption = None,
    limit: LimitOption = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Another topic in place of the requests topic.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.01, help="The most requests a second.")
    ] = None,
    drop_deadlines: Annotated[
        bool, typer.Option("--drop-deadlines", help="Leave headrace-deadline out.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Publish dead letters again as requests: key, value and headers as they first came.

    Each counts as handled once it is published, in one transaction: after an interruption the same
    command goes on, and replays nothing twice. Exits with 1 where some could not be replayed.
    """
    settings = read_settings(config)
    clock = SystemClock()
    now_ms = clock.epoch_ms()
    selection = make_selection(
        settings,
        now_ms=now_ms,
        error=error,
        older_than=older_than,
        newer_than=newer_than,
        custom_id=custom_id,
        route=route,
    )
    targets = Targets(
        {name: each.requests_topic for name, each in settings.routes.items()}, topic=to
    )
    topics = choose_inboxes(settings, route)
    check_target(settings, to)
    request = Request(selection=selection, limit_records=limit)
    plans = asyncio.run(
        plan(settings.kafka, topics, request, targets=targets, now_ms=now_ms, is_clearing=False)
    )
    total_records = sum(each.survey.tally.records for each in plans)
    if not json or not yes:
        for each in plans:
            err.print(tally_table(each.survey.tally, now_ms, each.inbox.topic))
            for note in survey_notes(each.inbox.topic, each.survey):
                print_note(note)
    if dry_run or not total_records:
        if json:
            print_json({each.inbox.topic: each.survey.to_dict() for each in plans})
        elif dry_run:
            out.print(f"{count(total_records)} dead letters would be replayed", highlight=False)
        else:
            out.print("no dead letters to replay")
        return
    confirm(f"Replay {count(total_records)} dead letters?", is_sure=yes)
    report = ReplayReport()
    try:
        asyncio.run(
            _replay_all(
                settings.kafka,
                plans,
                targets=targets,
                pace=Pace(rate),
                keeps_deadline=not drop_deadlines,
                report=report,
                total_records=total_records,
            )
        )
    except KeyboardInterrupt:
        _tell(report, is_json=json)
        print_note("interrupted; what was replayed is remembered: the same command goes on there")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BaseException:
        _tell(report, is_json=json)
        raise
    _tell(report, is_json=json)
    if report.left_records:
        raise typer.Exit(1)


def check_target(settings: Settings, topic: str | None) -> None:
    """Refuse topics to which nobody should replay.

    Raises:
        UserError: The service would never read it there, or read its own words.
    """
    if topic is None:
        return
    for name, route in settings.routes.items():
        if topic in (route.results_topic, route.dead_letters_topic):
            raise UserError(
                f"--to: {topic} is where routes.{name} writes; name a topic that takes requests"
            )


async def _replay_all(
    kafka: KafkaSettings,
    plans: list[Planned],
    *,
    targets: Targets,
    pace: Pace,
    keeps_deadline: bool,
    report: ReplayReport,
    total_records: int,
) -> None:
    with record_progress() as bars:
        bar = bars.add_task("replaying", total=total_records, records=0)

        def show() -> None:
            done_records = report.replayed_records + report.left_records
            bars.update(bar, completed=done_records, records=report.replayed_records)

        for each in plans:
            if not each.survey.tally.records:
                continue
            await handling.replay(
                kafka,
                each.inbox,
                each.request,
                targets=targets,
                pace=pace,
                keeps_deadline=keeps_deadline,
                clock=SystemClock(),
                report=report,
                replayed=show,
            )


def _tell(report: ReplayReport, *, is_json: bool) -> None:
    for problem in report.problems:
        print_error(problem)
    if is_json:
        print_json(report.to_dict())
        return
    left = f", {count(report.left_records)} could not be" * bool(report.left_records)
    out.print(f"{count(report.replayed_records)} dead letters replayed{left}", highlight=False)
