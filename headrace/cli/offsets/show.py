"""``headrace offsets show``: what groups have committed, summed up or by partition."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from consumer.kafka.admin.group_lags import GroupLags
from consumer.kafka.admin.group_offsets import GroupOffsets, GroupState
from consumer.ports import Lag, TopicPartition
from headrace.cli.offsets.options import PartitionsOption
from headrace.cli.offsets.output import metadata_lines, most_left, partition_table
from headrace.cli.options import ConfigOption, JsonOption, choose_route, read_settings
from headrace.cli.output import count, err, out, print_json, print_line, print_note, print_table
from headrace.errors import UserError
from headrace.offsets.standing import (
    PartitionStanding,
    Summary,
    metadata_dict,
    standings,
    summarise,
)
from headrace_client.cli.completion import complete_route
from schemas.settings.file import Settings


@dataclass(frozen=True, slots=True)
class _Found:
    state: GroupState
    lags: Mapping[TopicPartition, Lag]
    partitions: Sequence[PartitionStanding]
    summary: Summary


def show(
    route: Annotated[
        str | None,
        typer.Argument(help="The route; all where left out.", autocompletion=complete_route),
    ] = None,
    partition: PartitionsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the committed offsets, the lag, and what is really left by the completion map.

    With --partition, the last commit's metadata too. "map" is how much of the brokers'
    offset.metadata.max.bytes it takes.
    """
    settings = read_settings(config)
    names = list(settings.routes) if route is None else [choose_route(settings, route)[0]]
    if partition and len(names) > 1:
        raise UserError("--partition: name the route too")
    with err.status("asking Kafka"):
        found = asyncio.run(_find(settings, names))
    numbers = sorted(set(partition or ()))
    for name in names:
        known = {each.partition for each in found[name].partitions}
        if missing := [number for number in numbers if number not in known]:
            raise UserError(
                f"--partition: {settings.routes[name].requests_topic} has no partition "
                f"{missing[0]}; it has {len(known)}, from 0 on"
            )
    if json:
        print_json({name: _as_json(settings, name, found[name], numbers) for name in names})
        return
    _print_summaries(settings, found)
    for name in names:
        if route is not None or len(names) == 1:
            _print_partitions(settings, found[name], numbers)


async def _find(settings: Settings, names: Sequence[str]) -> dict[str, _Found]:
    found = {}
    async with GroupLags(settings.kafka) as group_lags:
        for name in names:
            route = settings.routes[name]
            lags = await group_lags.read(route.group, route.requests_topic)
            async with GroupOffsets(settings.kafka, route.group, route.requests_topic) as offsets:
                state = await offsets.state()
            partitions = standings(lags, from_latest=route.start_from == "latest")
            limit = settings.kafka.offset_metadata_max_bytes
            found[name] = _Found(state, lags, partitions, summarise(partitions, limit))
    return found


def _as_json(
    settings: Settings, name: str, found: _Found, numbers: Sequence[int]
) -> dict[str, Any]:
    route = settings.routes[name]
    shown = [each for each in found.partitions if not numbers or each.partition in numbers]
    rows = []
    for each in shown:
        row = each.to_dict()
        if numbers:
            lag = found.lags[TopicPartition(route.requests_topic, each.partition)]
            row["metadata"] = metadata_dict(lag)
        rows.append(row)
    return {
        "group": route.group,
        "requests_topic": route.requests_topic,
        "group_state": found.state.state,
        "members": list(found.state.members),
        "map_limit_characters": settings.kafka.offset_metadata_max_bytes,
        "summary": found.summary.to_dict(),
        "partitions": rows,
    }


def _print_summaries(settings: Settings, found: Mapping[str, _Found]) -> None:
    rows = []
    for name, each in found.items():
        members = len(each.state.members)
        rows.append(
            (
                name,
                f"{each.state.state}, {members} member{'s' * (members != 1)}",
                count(each.summary.partitions),
                count(each.summary.lag),
                count(each.summary.left),
                f"{each.summary.fullest_map_share:.0%}",
            )
        )
    print_table("route", "group", "partitions", "lag", "left", "fullest map", rows=rows)
    for name, each in found.items():
        if not each.partitions:
            topic = settings.routes[name].requests_topic
            print_note(f"{name}: no topic {topic}; `headrace topics create` makes it")


def _print_partitions(settings: Settings, found: _Found, numbers: Sequence[int]) -> None:
    limit = settings.kafka.offset_metadata_max_bytes
    chosen = [each for each in found.partitions if not numbers or each.partition in numbers]
    shown = chosen if numbers else most_left(chosen)
    if shown:
        out.print(partition_table(shown, limit))
    if len(chosen) > len(shown):
        print_note(
            f"{count(len(chosen) - len(shown))} partitions with less left are not shown; "
            "--partition N shows one, --json all"
        )
    if numbers:
        for place, lag in sorted(found.lags.items()):
            if place.partition in numbers:
                for line in metadata_lines(place.partition, metadata_dict(lag)):
                    print_line(line)
