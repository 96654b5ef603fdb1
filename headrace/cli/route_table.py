"""The table of routes that `status` prints and `up` keeps on the screen; pure."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from consumer.core.lag import seconds_left, tokens_left
from headrace.cli.output import count
from headrace.lag import PartitionLag
from schemas.settings import Settings
from schemas.status import RouteStatus

MAX_ROUTE_COLUMNS = 3

_HEADINGS = (
    "lag",
    "lag, s",
    "lag, tokens",
    "records/s",
    "in flight",
    "queued",
    "completed",
    "of them 4xx",
    "of them expired",
    "of them dead letters",
    "lost to retention",
    "consumers",
    "models",
    "partitions",
)
_STATUS_KEYS = (
    "rate_records_per_s",
    "in_flight_records",
    "queued_records",
    "completed_records",
    "refused_records",
    "expired_records",
    "dead_letter_records",
    "lost_to_retention_records",
    "replicas",
    "model_replicas",
)


def route_report(
    settings: Settings,
    lags: Mapping[str, list[PartitionLag]] | None,
    statuses: Mapping[str, RouteStatus] | None,
) -> dict[str, Any]:
    """Return what is known of each route as JSON values.

    Args:
        settings: Whose routes.
        lags: Partitions by route; ``None`` where Kafka was not asked or did not answer.
        statuses: What the running service reports; ``None`` where none runs here.
    """
    routes = {}
    for name, route in settings.routes.items():
        partitions = None if lags is None else lags.get(name, [])
        status = None if statuses is None else statuses.get(name)
        lag = None if partitions is None else sum(each.lag_records for each in partitions)
        lag_s, lag_tokens = None, None
        if lag is not None and status is not None:
            lag_s = seconds_left(lag, status.working_records_per_s)
            lag_tokens = tokens_left(lag, status.tokens_per_record)
        routes[name] = {
            "model": route.model,
            "group": route.group,
            "requests_topic": route.requests_topic,
            "lag_records": lag,
            "lag_s": lag_s,
            "lag_tokens": lag_tokens,
            "partitions": None if partitions is None else [each.to_dict() for each in partitions],
            "service": None if status is None else status.to_dict(),
        }
    return {"routes": routes}


def route_table(report: Mapping[str, Any], title: str = "") -> Table:
    """Return a report as a table: a column a route while they are few, else a row a route."""
    rows = [[name, *_cells(route)] for name, route in report["routes"].items()]
    headings = ["route", *_HEADINGS]
    if len(rows) <= MAX_ROUTE_COLUMNS:
        headings, *rows = map(list, zip(headings, *rows, strict=True))
    table = Table(title=title or None)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _cells(route: Mapping[str, Any]) -> list[str]:
    lag, partitions, status = route["lag_records"], route["partitions"], route["service"]
    of = "-" if partitions is None else str(len(partitions))
    lags = [_count_if_known(each) for each in (lag, route["lag_s"], route["lag_tokens"])]
    if status is None:
        return [*lags, *["-"] * len(_STATUS_KEYS), f"-/{of}"]
    return [
        *lags,
        *(count(status[key]) for key in _STATUS_KEYS),
        f"{len(status['partitions'])}/{of}",
    ]


def _count_if_known(number: float | None) -> str:
    return "-" if number is None else count(number)


def partition_table(report: Mapping[str, Any]) -> Table:
    """Return the lag of every partition, one row each."""
    table = Table("route", "topic", title="Lag by partition")
    for name in ("partition", "log start", "committed", "log end", "lag"):
        table.add_column(name, justify="right")
    for name, route in report["routes"].items():
        for each in route["partitions"] or []:
            committed = "none" if each["committed"] is None else count(each["committed"])
            table.add_row(
                name,
                route["requests_topic"],
                str(each["partition"]),
                count(each["log_start"]),
                committed,
                count(each["log_end"]),
                count(each["lag_records"]),
            )
    return table
