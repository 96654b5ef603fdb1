"""``headrace offsets replay``: does a range of records again, and nothing else."""

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
from headrace.offsets.edits import Edit, Log
from schemas.settings.file import KafkaSettings, RouteSettings


def replay(
    partition: PartitionArgument,
    first: Annotated[
        int, typer.Argument(metavar="FROM", min=0, help="The first offset.", show_default=False)
    ],
    last: Annotated[
        int,
        typer.Argument(metavar="TO", min=0, help="The last offset, included.", show_default=False),
    ],
    route: RouteOption = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Do the records from FROM to TO again, and no others; a dry run unless --yes.

    Their results come a second time, with the same ids.
    """
    settings = read_settings(config)
    name, chosen = choose_route(settings, route)
    edit, state, begins = asyncio.run(
        _run(settings.kafka, name, chosen, (partition, first, last), is_done=yes)
    )
    show_edits(name, chosen.group, [edit], state, is_done=yes, json=json, begins=begins)


async def _run(
    kafka: KafkaSettings,
    name: str,
    route: RouteSettings,
    asked: tuple[int, int, int],
    *,
    is_done: bool,
) -> tuple[Edit, GroupState, int]:
    partition, first, last = asked

    def plan(log: Log) -> list[Edit]:
        return [edits.replay(log, partition, first, last)]

    async with open_offsets(kafka, name, route) as changing:
        log = await changing.log()
        (edit,) = plan(log)
        if is_done:
            (edit,) = await changing.commit(plan, [partition])
        return edit, await changing.offsets.state(), len(edits.beginning(log))
