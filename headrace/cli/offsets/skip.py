"""``headrace offsets skip``: gives up one record, so that its partition goes on."""

import asyncio
from typing import Annotated

import typer

from consumer.kafka.admin.group_offsets import GroupState
from headrace.cli.offsets.options import PartitionArgument, YesOption
from headrace.cli.offsets.output import show_edits
from headrace.cli.options import (
    ConfigOption,
    JsonOption,
    RouteOption,
    choose_route,
    read_settings,
)
from headrace.offsets import edits
from headrace.offsets.changing import open_offsets
from headrace.offsets.edits import Edit
from headrace.offsets.skipping import read_record, skip_record
from headrace_client.wire.names import Place
from schemas.settings.file import Settings


def skip(
    partition: PartitionArgument,
    offset: Annotated[int, typer.Argument(min=0, help="The record's offset.", show_default=False)],
    reason: Annotated[
        str, typer.Option("--reason", help="What the dead letter says besides.")
    ] = "",
    route: RouteOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Skip one record: it becomes a dead letter, skipped_by_operator; a dry run unless --yes.

    Nothing else changes. A record that can be answered without the model (as it is no JSON, or has
    expired) gets the outcome that it would have got.
    """
    settings = read_settings(config)
    name, chosen = choose_route(settings, route)
    edit, state, outcome = asyncio.run(_run(settings, name, partition, offset, reason, is_done=yes))
    show_edits(name, chosen.group, [edit], state, is_done=yes, json=json, outcome=outcome)


async def _run(
    settings: Settings, name: str, partition: int, offset: int, reason: str, *, is_done: bool
) -> tuple[Edit, GroupState, str | None]:
    route = settings.routes[name]
    async with open_offsets(settings.kafka, name, route) as changing:
        if is_done:
            said = f": {reason}" if reason else ""
            message = f"skipped by hand with `headrace offsets skip`{said}"
            skipped = await skip_record(changing, settings, name, partition, offset, message)
            return skipped.edit, await changing.offsets.state(), skipped.outcome
        edit = edits.skip(await changing.log(), partition, offset)
        await read_record(settings, Place(route.requests_topic, partition, offset))
        return edit, await changing.offsets.state(), None
