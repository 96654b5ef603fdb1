"""``headrace status``: shows lag by partition, and what a running service reports."""

import asyncio
import logging
from typing import Annotated, Any

import typer

from consumer.kafka.admin.group_lags import GroupLags
from consumer.replica.reports import RouteStatus
from handoff.clock import SystemClock
from headrace.cli.backend_lines import backend_line
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import err, out, print_error, print_json, print_note
from headrace.cli.route_table import partition_tables, route_report, route_view, waits_view
from headrace.errors import ServiceError
from headrace.status.lag import PartitionLag, read_lags
from headrace.status.open_transactions import OpenTransactionLines
from schemas.settings.file import Settings


def status(
    config: ConfigOption = None,
    json: JsonOption = False,
    service: Annotated[
        bool, typer.Option(help="Also ask the service that runs on this machine's Ray.")
    ] = True,
) -> None:
    """Show each route's lag, and what the service that runs here reports."""
    settings = read_settings(config)
    statuses, why_not = None, ""
    decisions: dict[str, str] = {}
    deployments: dict[str, str] = {}
    backends: dict[str, dict[str, Any]] = {}
    if service:
        with err.status("asking the service"):
            statuses, decisions, deployments, backends, why_not = _ask_service(settings)
    # After the service, which takes longer: both should show the same moment.
    with err.status("asking Kafka"):
        lags, open_transactions = asyncio.run(_ask_kafka(settings))
    report = route_report(settings, lags, statuses, open_transactions)
    report["deployments"] = deployments
    if json:
        print_json(
            {
                **report,
                "backends": backends,
                "scaling": decisions,
                "service_error": why_not or None,
            }
        )
        return
    out.print(route_view(report, out.width))
    out.print(partition_tables(report, out.width))
    out.print(waits_view(report))
    for name, route in settings.routes.items():
        if not lags[name]:
            print_note(
                f"{name}: no topic {route.requests_topic}; `headrace topics create` makes it"
            )
    for route_status in (statuses or {}).values():
        for error in route_status.errors:
            print_error(f"{route_status.route}: consumer {error}")
    for model, backend in backends.items():
        print_note(f"{model}: {backend_line(backend)}")
    for deployment, decision in decisions.items():
        print_note(f"{deployment}: {decision}")
    if why_not:
        print_note(f"no service: {why_not}")


async def _read_lags(settings: Settings) -> dict[str, list[PartitionLag]]:
    async with GroupLags(settings.kafka) as group_lags:
        return await read_lags(group_lags, settings)


async def _ask_kafka(
    settings: Settings,
) -> tuple[dict[str, list[PartitionLag]], dict[str, list[str]]]:
    lags = await _read_lags(settings)
    return lags, await OpenTransactionLines(settings, SystemClock()).of(lags)


def _ask_service(
    settings: Settings,
) -> tuple[
    dict[str, RouteStatus] | None,
    dict[str, str],
    dict[str, str],
    dict[str, dict[str, Any]],
    str,
]:
    """Return the report or ``None``, decisions, lacking replicas, backends, and what went wrong."""
    # Ray takes a second or two to import, and the other commands do not need it.
    import ray  # noqa: PLC0415 - see above

    from headrace.status.client import (  # noqa: PLC0415 - see above
        quiet_ray,
        read_backends,
        read_decisions,
        read_deployments,
        read_statuses,
    )

    quiet_ray()
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        return None, {}, {}, {}, "no Ray cluster runs on this machine; `headrace up` starts one"
    deployments: dict[str, str] = {}
    try:
        # First: where replicas are missing, the board may be one of them.
        deployments = read_deployments()
        backends = read_backends(settings.models)
        return read_statuses(), read_decisions(), deployments, backends, ""
    except ServiceError as error:
        return None, {}, deployments, {}, str(error)
    finally:
        ray.shutdown()
