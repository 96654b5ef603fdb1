"""``headrace offsets seek``: where a route's group goes on."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from consumer.kafka.admin.group_offsets import GroupState
from headrace.cli.offsets.options import PartitionsOption, YesOption
from headrace.cli.offsets.output import show_edits
from headrace.cli.options import (
    ConfigOption,
    JsonOption,
    RouteOption,
    choose_route,
    read_settings,
)
from headrace.errors import UserError
from headrace.offsets import edits
from headrace.offsets.changing import open_offsets
from headrace.offsets.edits import Edit, Log, Target
from schemas.settings.file import KafkaSettings, RouteSettings


def seek(
    to_offset: Annotated[
        int | None, typer.Option("--to-offset", min=0, help="Go on at this offset.")
    ] = None,
    to_time: Annotated[
        str | None,
        typer.Option(
            "--to-time", help="At the first record of this ISO 8601 time or later; UTC if unsaid."
        ),
    ] = None,
    to_earliest: Annotated[
        bool, typer.Option("--to-earliest", help="At the oldest record that is kept.")
    ] = False,
    to_latest: Annotated[
        bool, typer.Option("--to-latest", help="At the next record that is written.")
    ] = False,
    by: Annotated[
        int | None,
        typer.Option("--by", help="So many offsets from the committed one; back if negative."),
    ] = None,
    partition: PartitionsOption = None,
    route: RouteOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say where the group goes on, in all partitions or some; a dry run unless --yes.

    Forwards, records in between get no outcome, and what is done beyond stays done. Backwards, all
    records from there on are done again.
    """
    settings = read_settings(config)
    name, chosen = choose_route(settings, route)
    target = Target(
        offset=to_offset,
        time=None if to_time is None else _read_time(to_time),
        is_earliest=to_earliest,
        is_latest=to_latest,
        by=by,
    )
    planned, state, begins = asyncio.run(
        _run(settings.kafka, name, chosen, target, partition or (), is_done=yes)
    )
    show_edits(name, chosen.group, planned, state, is_done=yes, json=json, begins=begins)


def _read_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"--to-time: {text!r} is no ISO 8601 time; write e.g. 2026-11-30T04:00:00Z"
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


async def _run(
    kafka: KafkaSettings,
    name: str,
    route: RouteSettings,
    target: Target,
    partitions: Collection[int],
    *,
    is_done: bool,
) -> tuple[Sequence[Edit], GroupState, int]:
    async with open_offsets(kafka, name, route) as changing:
        log = await changing.log()
        numbers = sorted(set(partitions) or {each.partition for each in log.lags})
        first_since = {}
        if target.time is not None:
            epoch_ms = int(target.time.timestamp() * 1000)
            known = {each.partition for each in log.lags}
            first_since = await changing.offsets.first_since(known, epoch_ms)

        def plan(latest: Log) -> list[Edit]:
            return edits.seek(latest, target, numbers, first_since)

        planned = plan(log)
        if is_done:
            done = {each.partition: each for each in await changing.commit(plan, numbers)}
            planned = [done.get(each.partition, each) for each in planned]
        return planned, await changing.offsets.state(), len(edits.beginning(log))
