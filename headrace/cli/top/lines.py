"""An overview as lines of columns for a terminal of any width. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from headrace.cli.output import printable, shorten
from headrace.overview.snapshot import (
    JobOverview,
    ModelOverview,
    Replicas,
    RouteOverview,
    RouteState,
)
from headrace_client.registry.tables import duration, short

T = TypeVar("T")

STYLES = {
    RouteState.RUNNING: "green",
    RouteState.STARTING: "cyan",
    RouteState.PAUSED: "yellow",
    RouteState.DRAINING: "cyan",
    RouteState.STANDING_STILL: "bold red",
    RouteState.UNKNOWN: "dim",
}
_GAP = " "
_INDENT = "  "
_NOTHING = "-"
_LEAST_NAME = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """A row, and lines on it that are left out where there is little room.

    Attributes:
        is_grave: Whether these lines are the last to be left out.
    """

    row: Text
    details: Sequence[str] = ()
    style: str = ""
    is_grave: bool = False

    def lines(self, width: int, most_details: int) -> list[Text]:
        """Return at most ``1 + most_details`` lines; the last one is cut where there are more."""
        found: list[Text] = []
        for each in self.details:
            found += [Text(_INDENT + line, style=self.style) for line in _wrapped(each, width)]
        kept = found[:most_details]
        if kept and len(found) > len(kept):
            kept[-1] = Text(_cut(kept[-1].plain + "…", width), style=self.style)
        return [self.row, *kept]


@dataclass(frozen=True, slots=True)
class Section:
    """Entries of one kind, under a heading; ``plural`` is what they are: ``routes``."""

    heading: Text
    entries: Sequence[Entry]
    plural: str


@dataclass(frozen=True, slots=True)
class _Column(Generic[T]):
    """A column of numbers; the first of a table takes what is left of the width.

    Attributes:
        from_width: The least width of a terminal that shows it.
    """

    heading: str
    width: int
    cell: Callable[[T], str]
    from_width: int = 0
    is_left: bool = False
    style: Callable[[T], str] = field(default=lambda _: "")


def routes_section(routes: Sequence[RouteOverview], width: int) -> Section:
    """Return the routes: those that stand still first, then those with the most left to do."""
    found = sorted(routes, key=_urgency)
    rows = _rows("ROUTE", _ROUTE_COLUMNS, found, [each.name for each in found], width)
    entries = [
        Entry(
            row,
            [printable(reason.text) for reason in each.reasons],
            style="red" if each.is_standing_still else "dim",
            is_grave=each.is_standing_still,
        )
        for each, row in zip(found, rows[1:], strict=True)
    ]
    return Section(rows[0], entries, "routes")


def models_section(models: Sequence[ModelOverview], width: int) -> Section:
    found = sorted(models, key=lambda each: (each.why_not is None, each.name))
    rows = _rows("MODEL", _MODEL_COLUMNS, found, [each.name for each in found], width)
    entries = [
        Entry(
            row,
            [printable(line) for line in (each.why_not, each.scaling) if line],
            style="red" if each.why_not else "dim",
            is_grave=each.why_not is not None,
        )
        for each, row in zip(found, rows[1:], strict=True)
    ]
    return Section(rows[0], entries, "models")


def jobs_section(jobs: Sequence[JobOverview], width: int) -> Section:
    names = [printable(each.name) for each in jobs]
    rows = _rows("JOB", _JOB_COLUMNS, jobs, names, width)
    entries = [
        Entry(row, [printable(line) for line in each.waits_for], style="yellow")
        for each, row in zip(jobs, rows[1:], strict=True)
    ]
    return Section(rows[0], entries, "jobs")


def _urgency(route: RouteOverview) -> tuple[int, int, str]:
    order = (RouteState.STANDING_STILL, RouteState.STARTING, RouteState.DRAINING)
    rank = order.index(route.state) if route.state in order else len(order)
    left = -1 if route.lag is None else route.lag.left_records
    return rank, -left, route.name


def _rows(
    name: str, columns: Sequence[_Column[T]], items: Sequence[T], names: Sequence[str], width: int
) -> list[Text]:
    shown = [each for each in columns if width >= each.from_width]
    taken = sum(each.width + len(_GAP) for each in shown)
    name_width = max(_LEAST_NAME, width - taken)
    longest = max((cell_len(each) for each in names), default=0)
    # Wide terminals: numbers stay near the names.
    name_width = min(name_width, max(longest, len(name), 24))
    heading = Text(set_cell_size(name, name_width), style="bold")
    for each in shown:
        heading.append(_GAP + _cell(each.heading, each))
    rows = [heading]
    for item, title in zip(items, names, strict=True):
        row = Text(set_cell_size(shorten(title, name_width), name_width))
        for each in shown:
            row.append(_GAP)
            row.append(_cell(each.cell(item), each), style=each.style(item))
        rows.append(row)
    for row in rows:
        row.truncate(width)
    return rows


def _cell(text: str, column: _Column[T]) -> str:
    text = _cut(text, column.width)
    missing = " " * (column.width - cell_len(text))
    return text + missing if column.is_left else missing + text


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, max(20, width - len(_INDENT))) or [""]


def number(value: float | None) -> str:
    return _NOTHING if value is None else short(value)


def seconds(value: float | None) -> str:
    """Return a time in at most six characters: 34 ms, 1.2 s, 90 min."""
    if value is None:
        return _NOTHING
    if value < 1.0:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 10.0 else duration(value)


def replicas(value: Replicas) -> str:
    running = _NOTHING if value.running is None else str(value.running)
    return running if value.target is None else f"{running}/{value.target}"


def _left(route: RouteOverview) -> str:
    return number(None if route.lag is None else route.lag.left_records)


def _rate(name: str) -> Callable[[RouteOverview], str]:
    def cell(route: RouteOverview) -> str:
        return number(None if route.latest is None else getattr(route.latest, name))

    return cell


def _held(route: RouteOverview) -> str:
    held = route.held
    shares = [
        have / most
        for have, most in ((held.records, held.most_records), (held.bytes, held.most_bytes))
        if most
    ]
    return f"{max(shares):.0%}" if shares else number(held.records)


_ROUTE_COLUMNS: tuple[_Column[RouteOverview], ...] = (
    _Column(
        "STATE", 14, lambda each: each.state.value, is_left=True, style=lambda e: STYLES[e.state]
    ),
    _Column("LEFT", 5, _left),
    _Column("TO GO", 6, lambda each: seconds(None if each.lag is None else each.lag.left_s)),
    _Column("IN/S", 5, _rate("received_records_per_s")),
    _Column("DONE/S", 6, _rate("completed_records_per_s")),
    _Column("FAIL/S", 6, _rate("failed_records_per_s")),
    _Column("P95", 6, lambda each: seconds(each.latency.end_to_end.p95_s)),
    _Column("CONS", 5, lambda each: replicas(each.consumers)),
    _Column("HELD", 5, _held, from_width=90),
    _Column("MODEL95", 7, lambda each: seconds(each.latency.model.p95_s), from_width=100),
    _Column("OLDEST", 6, lambda each: seconds(each.held.oldest_s), from_width=108),
    _Column("DEAD", 5, lambda each: number(each.totals.dead_letter_records), from_width=115),
    _Column("PARTS", 5, lambda each: number(each.assigned_partitions), from_width=122),
)
_MODEL_COLUMNS: tuple[_Column[ModelOverview], ...] = (
    _Column("KIND", 10, lambda each: each.kind, is_left=True),
    _Column(
        "REPL",
        5,
        lambda each: replicas(each.replicas),
        style=lambda each: "bold red" if each.why_not else "",
    ),
    _Column("BUSY", 5, lambda each: number(each.in_flight_records)),
    _Column("WINDOW", 6, lambda each: number(each.window_records)),
    _Column("DONE/S", 6, lambda each: number(each.completed_records_per_s)),
    _Column("P95", 6, lambda each: seconds(each.latency.p95_s)),
    _Column("RUNS ON", 18, lambda each: ", ".join(each.runs_on) or _NOTHING, is_left=True),
)


def _done(job: JobOverview) -> str:
    if not job.total:
        return number(job.done)
    share = int(100 * min(1.0, (job.done + job.failed) / job.total))
    return f"{share}% of {number(job.total)}"


def _job_state(job: JobOverview) -> str:
    return printable(job.state) if job.silent_s is None else "runner silent"


_JOB_COLUMNS: tuple[_Column[JobOverview], ...] = (
    _Column("STATE", 13, _job_state, is_left=True),
    _Column("DONE", 12, _done),
    _Column("FAILED", 6, lambda each: number(each.failed)),
    _Column("RATE/S", 6, lambda each: number(each.rate_per_s)),
    _Column("TO GO", 6, lambda each: seconds(each.eta_s)),
    _Column("ROUTE", 14, lambda each: each.route or _NOTHING, is_left=True),
)
