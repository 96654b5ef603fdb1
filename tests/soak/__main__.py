"""``python -m tests.soak [--minutes N] [--planted]``: an hour at 80 % load, and whether it is flat.

Writes ``soak.json``, ``docs/soak.md`` and its pictures. The exit status is 1 if something grew, a
promise was broken or an alert fired; with a planted leak, if the leak was not found.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

import orjson
from rich.console import Console

from tests.soak.report import as_json, draw, markdown
from tests.soak.run import Outcome, soak

_ROOT = Path(__file__).parents[2]
RESULTS = _ROOT / "benchmarks" / "results"
DOCS = _ROOT / "docs"
DEFAULT_MINUTES = 60.0
PLANTED_MINUTES = 6.0
_LEAST_MINUTES = 4.0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, help=f"{DEFAULT_MINUTES:g} where unset")
    parser.add_argument(
        "--delivery", choices=["at_least_once", "exactly_once"], default="at_least_once"
    )
    parser.add_argument("--planted", action="store_true", help="with a model that leaks")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the report goes")
    parser.add_argument("--keep", type=Path, help="keep data and logs in this folder")
    arguments = parser.parse_args(argv)
    if arguments.minutes is None:
        arguments.minutes = PLANTED_MINUTES if arguments.planted else DEFAULT_MINUTES
    if arguments.minutes < _LEAST_MINUTES:
        parser.error(f"--minutes must be {_LEAST_MINUTES:g} or more: processes warm up first")
    return arguments


def main(argv: list[str]) -> int:
    """Run the soak; return the exit status."""
    arguments = parse(argv)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    # Clients log much while brokers and consumers come and go.
    logging.basicConfig(level=logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="headrace-soak-") as scratch:
        outcome = asyncio.run(
            soak(
                arguments.delivery,
                60 * arguments.minutes,
                arguments.keep or Path(scratch),
                console.print,
                is_planted=arguments.planted,
            )
        )
    console.print(outcome.headline)
    for each in outcome.grown:
        console.print(f"  {each.what}: {each.trend.ratio_per_hour:+.1%} an hour ({each.finding})")
    for example in outcome.verdict.examples[:5]:
        console.print(f"  {example.rule}: {example.detail}")
    if outcome.fired:
        console.print(f"  alerts fired: {', '.join(sorted(outcome.fired))}")
    if arguments.planted:
        return _planted(outcome, console)
    _write(outcome, arguments)
    return 0 if outcome.is_good else 1


def _planted(outcome: Outcome, console: Console) -> int:
    found = {each.what for each in outcome.grown if each.finding == "grows"}
    is_found = all(
        any(what.startswith("model ") and what.endswith(of) for what in found)
        for of in ("resident memory", "file descriptors")
    )
    console.print("the planted leak was found" if is_found else "THE PLANTED LEAK WAS NOT FOUND")
    return 0 if is_found else 1


def _write(outcome: Outcome, arguments: argparse.Namespace) -> None:
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / "soak.json"
    path.write_bytes(orjson.dumps(as_json(outcome), option=orjson.OPT_INDENT_2) + b"\n")
    draw(outcome, arguments.docs / "images" / "soak")
    (arguments.docs / "soak.md").write_text(markdown(outcome))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
