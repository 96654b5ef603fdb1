"""The tables of `status` and `up`. Pure."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from consumer.autoscaling.lag import seconds_left, tokens_left
from consumer.engine.waiting.waits import subject
from consumer.replica.reports import RouteStatus
from headrace.cli.output import count, shorten
from headrace.status.partition_lag import PartitionLag
from schemas.settings.file import Settings

MAX_NAME_CHARACTERS = 24
"""The longest name that heads a column."""

_ROWS = {
    "lag": "lag_records",
    "lag, s": "lag_s",
    "lag, tokens": "lag_tokens",
    "records/s": "rate_records_per_s",
    "in flight": "in_flight_records",
    "queued": "queued_records",
    "completed": "completed_records",
    "refused (4xx)": "refused_records",
    "expired": "expired_records",
    "dead letters": "dead_letter_records",
    "lost to retention": "lost_to_retention_records",
    "consumers": "replicas",
    "models": "model_replicas",
}
"""The key of each heading, of a route's report or of what its service reports."""
_HEADINGS = (*_ROWS, "partitions")


def route_report(
    settings: Settings,
    lags: Mapping[str, list[PartitionLag]] | None,
    statuses: Mapping[str, RouteStatus] | None,
    open_transactions: Mapping[str, list[str]] | None = None,
) -> dict[str, Any]:
    """Return what is known of each route as JSON values.

    ``lags`` is ``None`` if Kafka did not answer, ``statuses`` if no service runs here.
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
            "waits": _waits(status, (open_transactions or {}).get(name, [])),
            "service": None if status is None else status.to_dict(),
        }
    return {"routes": routes}


def _waits(status: RouteStatus | None, open_transactions: list[str]) -> list[str]:
    # The brokers' line on a partition replaces the consumers': only brokers know the producer.
    lines = [*([] if status is None else status.waits), *open_transactions]
    return list({subject(line): line for line in lines}.values())


def waits_view(report: Mapping[str, Any]) -> RenderableType:
    lines = [
        f"{name}: {line}" for name, route in report["routes"].items() for line in route["waits"]
    ]
    lines += [f"{name}: {line}" for name, line in report.get("deployments", {}).items()]
    return Group(*(Text(line, style="yellow") for line in lines))


def route_view(report: Mapping[str, Any], width_columns: int, title: str = "") -> RenderableType:
    """Return a report as a table with a column per route, or as blocks if that is too wide."""
    cells = {name: _cells(route) for name, route in report["routes"].items()}
    table = _one_table(cells, title)
    if _width_columns(table) <= width_columns:
        return table
    for pairs_a_line in (3, 2, 1):
        blocks = _blocks(cells, pairs_a_line, width_columns)
        if all(_width_columns(block) <= width_columns for block in blocks):
            break
    return Group(*([Text(title)] if title else []), *blocks)


def _width_columns(table: Table) -> int:
    # Without a limit: a table that may shrink says that it fits.
    return Console(width=10_000).measure(table).maximum


def _one_table(cells: Mapping[str, list[str]], title: str) -> Table:
    table = Table("route", title=Text(title) if title else None)
    for name in cells:
        table.add_column(shorten(name, MAX_NAME_CHARACTERS), justify="right")
    for heading, *row in zip(_HEADINGS, *cells.values(), strict=True):
        table.add_row(heading, *row)
    return table


def _blocks(cells: Mapping[str, list[str]], pairs_a_line: int, width_columns: int) -> list[Table]:
    columns = range(pairs_a_line)
    heading_widths = [max(map(len, _HEADINGS[each::pairs_a_line])) for each in columns]
    value_widths = [
        max(len(cell) for values in cells.values() for cell in values[each::pairs_a_line])
        for each in columns
    ]
    blocks = []
    for name, values in cells.items():
        block = Table(
            title=Text(shorten(name, width_columns), style="bold"),
            title_justify="left",
            box=None,
            show_header=False,
            padding=(0, 0, 0, 2),
        )
        for heading_width, value_width in zip(heading_widths, value_widths, strict=True):
            block.add_column(min_width=heading_width, no_wrap=True)
            block.add_column(min_width=value_width, justify="right", no_wrap=True)
        pairs = list(zip(_HEADINGS, values, strict=True))
        for start in range(0, len(pairs), pairs_a_line):
            line = pairs[start : start + pairs_a_line]
            block.add_row(*(cell for pair in line for cell in pair))
        blocks.append(block)
    return blocks


def _cells(route: Mapping[str, Any]) -> list[str]:
    partitions, status = route["partitions"], route["service"]
    values = {**(status or {}), **route}
    numbers = (values.get(key) for key in _ROWS.values())
    assigned = "-" if status is None else len(status["partitions"])
    of = "-" if partitions is None else len(partitions)
    return [*("-" if each is None else count(each) for each in numbers), f"{assigned}/{of}"]


def partition_tables(report: Mapping[str, Any], width_columns: int) -> RenderableType:
    tables: list[RenderableType] = []
    for name, route in report["routes"].items():
        title = f"{name}: lag of {route['requests_topic']} by partition"
        table = Table()
        for heading in ("partition", "log start", "committed", "log end", "lag"):
            table.add_column(heading, justify="right", no_wrap=True)
        for each in route["partitions"] or []:
            committed = each["committed"]
            table.add_row(
                str(each["partition"]),
                count(each["log_start"]),
                "none" if committed is None else count(committed),
                count(each["log_end"]),
                count(each["lag_records"]),
            )
        if table.rows:
            tables += [Text(shorten(title, width_columns), style="bold"), table]
    return Group(*tables)
