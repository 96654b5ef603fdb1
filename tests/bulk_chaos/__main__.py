"""``python -m tests.bulk_chaos [--seed N] [--kills N] [--planted]``: bulk jobs through kills.

Writes ``bulk-chaos.json``, or ``bulk-chaos-planted.json``. The exit status is 1 if a rule was
broken, or a planted bug was not caught.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from tests.bulk_chaos.planted import SHOWS_AS, Bug
from tests.bulk_chaos.run import Kill, Plan, Target, Verdict, draw_kills, run_plan
from tests.chaos.stage.stage import Delivery

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
DEFAULT_KILLS = 30
_PLANTED_KILLS = 4
_PLANTED_ROUNDS = 3
_PLANTED_PATIENCE_S = 20.0
_MOST_DETAILS = 5


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bulk_chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of inputs and moments; drawn where unset")
    parser.add_argument("--kills", type=int, default=DEFAULT_KILLS, help="over both deliveries")
    parser.add_argument("--rows", type=int, default=12_000, help="of each job's input")
    parser.add_argument("--planted", action="store_true", help="plant bugs and catch each")
    parser.add_argument("--bug", action="append", choices=[b.value for b in Bug], help="only these")
    parser.add_argument(
        "--delivery", action="append", choices=["at_least_once", "exactly_once"], help="only these"
    )
    parser.add_argument("--target", action="append", choices=[t.value for t in Target])
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    parser.add_argument("--keep", type=Path, help="keep data and logs in this folder")
    arguments = parser.parse_args(argv)
    if arguments.kills < 1:
        parser.error("--kills must be 1 or more")
    return arguments


def main(argv: list[str]) -> int:
    """Run the harness; return the exit status."""
    arguments = parse(argv)
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    console = Console()
    console.print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="headrace-bulk-chaos-") as folder:
        run = _run_planted if arguments.planted else _run_kills
        is_good, report = run(arguments, seed, arguments.keep or Path(folder), console)
    name = "bulk-chaos-planted.json" if arguments.planted else "bulk-chaos.json"
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / name).write_bytes(
        orjson.dumps({"seed": seed, **report}, option=orjson.OPT_INDENT_2) + b"\n"
    )
    console.print("every rule held" if is_good else "NOT GOOD")
    return 0 if is_good else 1


def _targets(arguments: argparse.Namespace) -> Sequence[Target]:
    return tuple(Target(each) for each in arguments.target or list(Target))


def _run_kills(
    arguments: argparse.Namespace, seed: int, folder: Path, console: Console
) -> tuple[bool, dict[str, Any]]:
    deliveries: list[Delivery] = arguments.delivery or ["at_least_once", "exactly_once"]
    report: dict[str, Any] = {}
    is_good = True
    left = arguments.kills
    for number, delivery in enumerate(deliveries):
        count = left if number == len(deliveries) - 1 else arguments.kills // len(deliveries)
        left -= count
        if not count:
            continue
        kills = draw_kills(seed + number, count, _targets(arguments))
        plan = Plan(delivery=delivery, seed=seed, kills=kills, rows=arguments.rows)
        done = _Counter(console, delivery, count)
        verdict = asyncio.run(run_plan(plan, folder / delivery, on_kill=done))
        _say(console, delivery, verdict)
        report[delivery] = verdict.to_json()
        is_good &= not verdict.violations
    return is_good, report


def _run_planted(
    arguments: argparse.Namespace, seed: int, folder: Path, console: Console
) -> tuple[bool, dict[str, Any]]:
    report: dict[str, Any] = {}
    is_good = True
    for bug in [Bug(each) for each in arguments.bug or list(Bug)]:
        caught: list[str] = []
        for number in range(_PLANTED_ROUNDS):
            # A client that is killed is what they are about; a consumer's death makes repeats.
            targets = (Target.CLIENT, Target.CONSUMER)
            plan = Plan(
                delivery="at_least_once",
                seed=seed + number,
                kills=draw_kills(seed + number, _PLANTED_KILLS, targets),
                rows=arguments.rows // 2,
                bug=bug,
                patience_s=_PLANTED_PATIENCE_S,
            )
            place = folder / f"{bug.value}{number}"
            verdict = asyncio.run(run_plan(plan, place))
            caught = sorted(verdict.violations.keys() & set(SHOWS_AS[bug]))
            if caught:
                break
        console.print(f"{bug.value}: {'caught by ' + ', '.join(caught) if caught else 'MISSED'}")
        report[bug.value] = {"caught_by": caught, "rounds": number + 1}
        is_good &= bool(caught)
    return is_good, report


class _Counter:
    """Says each kill."""

    def __init__(self, console: Console, name: str, count: int) -> None:
        self._console = console
        self._name = name
        self._count = count
        self._done = 0

    def __call__(self, kill: Kill) -> None:
        self._done += 1
        self._console.print(f"{self._name}: kill {self._done} of {self._count}, {kill.target}")


def _say(console: Console, name: str, verdict: Verdict) -> None:
    console.print(
        f"{name}: {verdict.kills.total()} kills in {verdict.duration_s:.0f} s, {verdict.jobs} jobs,"
        f" {verdict.rows:,} rows; computed twice {verdict.items_computed_twice:,} items, in flight"
        f" at the kills {verdict.items_in_flight:,}"
    )
    for rule, details in verdict.violations.items():
        console.print(f"  {rule}: {len(details)}")
        for detail in details[:_MOST_DETAILS]:
            console.print(f"    {detail}", markup=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
