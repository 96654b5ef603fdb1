"""``headrace dlq purge``: puts dead letters aside, and deletes what nobody needs any more."""

import asyncio
from dataclasses import dataclass, field
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
from headrace.cli.dlq.output import tally_table
from headrace.cli.dlq.plan import Planned, plan
from headrace.cli.dlq.replay import EXIT_INTERRUPTED
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import count, err, out, print_json, print_note, record_progress
from headrace.dead_letters import handling
from headrace.dead_letters.handling import Request
from headrace.dead_letters.replay import Targets
from schemas.settings.file import KafkaSettings


def purge(  # noqa: PLR0913, PLR0917 - a parameter is an option
    error: ErrorOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    custom_id: CustomIdOption = None,
    route: DlqRouteOption = None,
    limit: LimitOption = None,
    keep_records: Annotated[
        bool, typer.Option("--keep-records", help="Delete nothing from the topic.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Count dead letters as handled, and delete the records that stand before all unhandled ones.

    Kafka deletes from the beginning of a partition only. So what the filters leave out stays, and
    so do the handled ones behind it, hidden, until nothing unhandled stands before them.
    """
    settings = read_settings(config)
    now_ms = SystemClock().epoch_ms()
    selection = make_selection(
        settings,
        now_ms=now_ms,
        error=error,
        older_than=older_than,
        newer_than=newer_than,
        custom_id=custom_id,
        route=route,
    )
    topics = choose_inboxes(settings, route)
    plans = asyncio.run(
        plan(
            settings.kafka,
            topics,
            Request(selection=selection, limit_records=limit),
            targets=Targets({}),
            now_ms=now_ms,
            is_clearing=not keep_records,
        )
    )
    plans = [
        each
        for each in plans
        if each.survey.tally.records or (each.survey.clear_below and not keep_records)
    ]
    if not json or not yes:
        for each in plans:
            err.print(tally_table(each.survey.tally, now_ms, each.inbox.topic))
            if not keep_records:
                print_note(_describe_clearing(each))
    records = sum(each.survey.tally.records for each in plans)
    if dry_run or not plans:
        if json:
            print_json({each.inbox.topic: _as_json(each, keep_records) for each in plans})
        elif dry_run:
            out.print(f"{count(records)} dead letters would be put aside", highlight=False)
        else:
            out.print("no dead letters to purge")
        return
    also = "" if keep_records else ", and delete what stands before all unhandled ones"
    confirm(f"Put {count(records)} dead letters aside{also}?", is_sure=yes)
    report = PurgeReport()
    try:
        asyncio.run(_purge_all(settings.kafka, plans, records, keep_records, report))
    except KeyboardInterrupt:
        _tell(report, is_json=json)
        print_note("interrupted; run the same command again to go on")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BaseException:
        _tell(report, is_json=json)
        raise
    _tell(report, is_json=json)


@dataclass(slots=True)
class PurgeReport:
    """How far a purge has come.

    Attributes:
        purged_records: Remembered as handled.
        deleted_below: By topic and partition, below which offset records were deleted.
    """

    purged_records: int = 0
    deleted_below: dict[str, dict[int, int]] = field(default_factory=dict)


async def _purge_all(
    kafka: KafkaSettings,
    plans: list[Planned],
    total_records: int,
    keeps_records: bool,
    report: PurgeReport,
) -> None:
    with record_progress() as bars:
        bar = bars.add_task("purging", total=total_records, records=0)

        def purged(more_records: int) -> None:
            report.purged_records += more_records
            bars.update(bar, completed=report.purged_records, records=report.purged_records)

        for each in plans:
            report.deleted_below[each.inbox.topic] = await handling.purge(
                kafka, each.inbox, each.request, keeps_records=keeps_records, purged=purged
            )


def _tell(report: PurgeReport, *, is_json: bool) -> None:
    if is_json:
        print_json(
            {
                "purged_records": report.purged_records,
                "deleted_below": {
                    topic: {str(number): offset for number, offset in offsets.items()}
                    for topic, offsets in report.deleted_below.items()
                },
            }
        )
        return
    out.print(f"{count(report.purged_records)} dead letters put aside", highlight=False)
    for topic, offsets in report.deleted_below.items():
        for number, offset in offsets.items():
            out.print(f"{topic}/{number}: deleted below offset {offset}", highlight=False)


def _describe_clearing(planned: Planned) -> str:
    inbox, below = planned.inbox, planned.survey.clear_below
    if not below:
        return f"{inbox.topic}: nothing is deleted, as unhandled ones stand before"
    parts = [
        f"{inbox.topic}/{number}: offsets {inbox.ranges[number].start} to {offset - 1} are deleted"
        for number, offset in below.items()
    ]
    return "\n".join(parts)


def _as_json(planned: Planned, keep_records: bool) -> dict[str, object]:
    below = {} if keep_records else planned.survey.clear_below
    return {
        **planned.survey.tally.to_dict(),
        "delete_below": {str(number): offset for number, offset in below.items()},
    }
