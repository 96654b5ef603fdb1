"""``headrace status``: shows lag by partition, what a service reports, and what it waits for."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

import typer

from consumer.kafka.admin.group_lags import GroupLags
from consumer.replica.reports import RouteStatus
from handoff.clock import SystemClock
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import err, out, print_error, print_json, print_note
from headrace.cli.route_table import partition_tables, route_report, route_view, waits_view
from headrace.cli.standing_view import add_overview, standing_view
from headrace.errors import ServiceError
from headrace.overview.snapshot import Overview
from headrace.status.lag import read_lags
from headrace.status.open_transactions import OpenTransactionLines
from headrace.status.partition_lag import PartitionLag
from schemas.settings.file import Settings


def status(
    config: ConfigOption = None,
    json: JsonOption = False,
    service: Annotated[
        bool, typer.Option(help="Also ask the service that runs on the Ray cluster.")
    ] = True,
) -> None:
    """Show each route's lag, what the service that runs here reports, and what it waits for."""
    settings = read_settings(config)
    answer = _Answer()
    if service:
        with err.status("asking the service"):
            answer = _ask_service()
    statuses = answer.statuses
    # After the service, which takes longer: both should show the same moment.
    with err.status("asking Kafka"):
        lags, open_transactions = asyncio.run(_ask_kafka(settings))
    report = route_report(settings, lags, statuses, open_transactions)
    report["deployments"] = answer.deployments
    if answer.overview is not None:
        add_overview(report, answer.overview)
    if json:
        print_json(
            {
                **report,
                "scaling": answer.decisions,
                "runs_on": answer.runs_on,
                "service_error": answer.why_not or None,
                "overview": None if answer.overview is None else answer.overview.to_dict(),
            }
        )
        return
    out.print(route_view(report, out.width))
    out.print(partition_tables(report, out.width))
    out.print(standing_view(report) if answer.overview is not None else waits_view(report))
    for name, route in settings.routes.items():
        if not lags[name]:
            print_note(
                f"{name}: no topic {route.requests_topic}; `headrace topics create` makes it"
            )
    for route_status in (statuses or {}).values():
        for error in route_status.errors:
            print_error(f"{route_status.route}: consumer {error}")
    for model, facts in answer.runs_on.items():
        print_note(f"{model} runs on {', '.join(facts)}")
    for deployment, decision in answer.decisions.items():
        print_note(f"{deployment}: {decision}")
    if answer.no_overview:
        print_note(f"not known what stands still: {answer.no_overview}")
    if answer.why_not:
        print_note(f"no service: {answer.why_not}")


async def _read_lags(settings: Settings) -> dict[str, list[PartitionLag]]:
    async with GroupLags(settings.kafka) as group_lags:
        return await read_lags(group_lags, settings)


async def _ask_kafka(
    settings: Settings,
) -> tuple[dict[str, list[PartitionLag]], dict[str, list[str]]]:
    lags = await _read_lags(settings)
    return lags, await OpenTransactionLines(settings, SystemClock()).of(lags)


@dataclass(slots=True)
class _Answer:
    """What the service says.

    Attributes:
        statuses: The report of each route; ``None`` without an answer.
        decisions: The latest scaling decisions, by deployment.
        deployments: A line on each that lacks replicas.
        runs_on: What each model's replicas chose: a device, a number format, and so on.
        overview: What it does now, with what stands still and why.
        no_overview: Why it is missing, where the rest is not.
        why_not: What went wrong.
    """

    statuses: dict[str, RouteStatus] | None = None
    decisions: dict[str, str] = field(default_factory=dict)
    deployments: dict[str, str] = field(default_factory=dict)
    runs_on: dict[str, list[str]] = field(default_factory=dict)
    overview: Overview | None = None
    no_overview: str = ""
    why_not: str = ""


def _ask_service() -> _Answer:
    # Ray takes a second or two to import, and the other commands do not need it.
    import ray  # noqa: PLC0415 - see above

    from headrace.overview.client import read_overview  # noqa: PLC0415 - see above
    from headrace.service.joining import NO_CLUSTER, join_ray  # noqa: PLC0415 - see above
    from headrace.status.client import (  # noqa: PLC0415 - see above
        read_decisions,
        read_deployments,
        read_runs_on,
        read_statuses,
    )

    answer = _Answer()
    try:
        if not join_ray():
            answer.why_not = NO_CLUSTER
            return answer
        # First: where replicas are missing, the board may be one of them.
        answer.deployments = read_deployments()
        answer.runs_on = read_runs_on()
        statuses = read_statuses()
        answer.decisions = read_decisions()
        answer.statuses = statuses
        try:
            answer.overview = read_overview()
        except ServiceError as error:
            answer.no_overview = str(error)
    except ServiceError as error:
        answer.why_not = str(error)
    finally:
        ray.shutdown()
    return answer
