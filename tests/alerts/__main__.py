"""``python -m tests.alerts [--only ALERT]…``: each alert, fired by a fault in a real Prometheus.

A minute of the alerts' windows lasts a second. Writes ``alerts.json`` and the dashboard's pictures.
The exit status is 1 if an alert did not fire, did not go away, or fired in ordinary work, or if a
panel had no data.
"""

import argparse
import asyncio
import dataclasses
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from handoff.clock import SystemClock
from tests.alerts.faults import FAULTS, NOT_CAUSED
from tests.alerts.pictures import Drawn, draw, read_panels
from tests.alerts.prometheus import PrometheusMissingError
from tests.alerts.rehearsal import Subject, Timed, missing, ordinary_work, rehearse
from tests.alerts.report import with_table
from tests.alerts.stage import PACE, AlertStage

_ROOT = Path(__file__).parents[2]
RESULTS = _ROOT / "benchmarks" / "results"
PICTURES = _ROOT / "docs" / "images" / "dashboard"
PAGE = _ROOT / "docs" / "dashboard.md"
DEFAULT_ORDINARY_S = 60.0
_PANEL_WINDOW = "10s"
NOT_HERE = ("Generators", "Pipelines", "GPUs")
"""Rows of the dashboard that need vLLM, a pipeline and GPUs."""
NOT_CAUSED_LINES = frozenset(
    {
        # Only generators count tokens.
        *("Tokens a second: {{route}}", "Tokens left: {{route}}"),
        # Counters that are missing until they first count.
        "Sent again: producers replaced {{route}}",
        "Share of padding: {{model}}",
        "Cut and split: truncated texts {{model}}",
        "Cut and split: batches out of memory {{model}}",
    }
)
"""Lines of panels that no fault here draws."""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.alerts", description=__doc__)
    names = sorted({alert for fault in FAULTS for alert, _ in fault.alerts})
    parser.add_argument("--only", action="append", choices=names, help="only faults of this alert")
    parser.add_argument("--ordinary-s", type=float, default=DEFAULT_ORDINARY_S, metavar="S")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="where pictures go")
    parser.add_argument("--keep", type=Path, help="keep data and logs in this folder")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Run the faults; return the exit status."""
    arguments = parse(argv)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    # Clients log much while brokers and consumers come and go.
    logging.basicConfig(level=logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="headrace-alerts-") as scratch:
        folder = arguments.keep or Path(scratch)
        try:
            return asyncio.run(_run(arguments, folder, console))
        except PrometheusMissingError as error:
            console.print(str(error))
            return 2


async def _run(arguments: argparse.Namespace, folder: Path, console: Console) -> int:
    stage = AlertStage(folder)
    clock = SystemClock()
    times: list[Timed] = []
    beside: dict[str, list[Subject]] = {}
    try:
        console.print("starting a broker, the service and Prometheus")
        await stage.start()
        start_s = clock.epoch_ms() / 1000
        console.print(f"{arguments.ordinary_s:g} s of ordinary work")
        in_ordinary = await ordinary_work(stage, arguments.ordinary_s)
        for fault in FAULTS:
            chosen = arguments.only
            if chosen and not {alert for alert, _ in fault.alerts} & set(chosen):
                continue
            console.print(fault.name)
            found, others = await rehearse(stage, fault, console.print)
            times += found
            beside[fault.name] = others
        drawn = await read_panels(stage.prometheus, start_s, clock.epoch_ms() / 1000, _PANEL_WINDOW)
        rules = sorted({rule["alert"] for rule in stage.rules})
    finally:
        await stage.stop()
    console.print(_table(times))
    empty = _empty(drawn)
    never = [] if arguments.only else missing(times, rules, sorted(NOT_CAUSED))
    wrong = [
        *(f"{alert} ({subject}) fired in ordinary work" for alert, subject in in_ordinary),
        *(f"{each.alert} did not fire, or did not go away" for each in times if not each.is_good),
        *(f"no fault makes {alert} fire" for alert in never),
        *([] if arguments.only else (f"panel {each}: no data" for each in empty)),
    ]
    for line in wrong:
        console.print(line)
    report = {
        "pace": PACE.divisor,
        "ordinary_s": arguments.ordinary_s,
        "in_ordinary_work": in_ordinary,
        "alerts": [dataclasses.asdict(each) for each in times],
        "fired_beside": beside,
        "not_caused": NOT_CAUSED,
        "panels_without_data": empty,
    }
    if not arguments.only:
        _write(arguments, report, drawn)
    return 1 if wrong else 0


def _write(
    arguments: argparse.Namespace, report: dict[str, Any], drawn: dict[str, list[Drawn]]
) -> None:
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / "alerts.json"
    path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    draw(drawn, arguments.pictures)
    PAGE.write_text(with_table(PAGE.read_text(), report))


def _empty(drawn: dict[str, list[Drawn]]) -> list[str]:
    return [
        f"{row}, {each.panel.title}: {legend}"
        for row, found in drawn.items()
        if row not in NOT_HERE
        for each in found
        for legend in each.empty
        if f"{each.panel.title}: {legend}" not in NOT_CAUSED_LINES
    ]


def _table(times: list[Timed]) -> Table:
    table = Table()
    for heading in ("alert", "fault"):
        table.add_column(heading)
    for heading in ("fired after", "resolved after"):
        table.add_column(heading, justify="right")
    for each in times:
        table.add_row(
            each.alert, each.fault, _shown(each.fired_after_s), _shown(each.resolved_after_s)
        )
    return table


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
