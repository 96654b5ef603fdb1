"""``python -m tests.nodes [--seed N] [--kills N]``: kills of whole nodes, and an upgrade.

Writes ``nodes.json``. The exit status is 1 if a promise was broken, or the rate did not come back.
"""

import argparse
import asyncio
import dataclasses
import logging
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from tests.chaos.checks.promises import Verdict
from tests.chaos.stage.stage import Delivery
from tests.nodes.rounds import draw, run_rounds, run_scaling, run_upgrade
from tests.nodes.stage import Kill

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
DEFAULT_KILLS = 8
PARTS = ("kills", "upgrade", "scaling")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.nodes", description=__doc__)
    parser.add_argument("--seed", type=int, help="of load and schedule; drawn where unset")
    parser.add_argument("--kills", type=int, default=DEFAULT_KILLS, help="over both deliveries")
    parser.add_argument(
        "--delivery", action="append", choices=["at_least_once", "exactly_once"], help="only these"
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="only these")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    parser.add_argument("--keep", type=Path, help="keep data and logs in this folder")
    arguments = parser.parse_args(argv)
    if arguments.kills < 1:
        parser.error("--kills must be 1 or more")
    return arguments


def main(argv: list[str]) -> int:
    """Run the rounds; return the exit status."""
    arguments = parse(argv)
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(f"seed {seed}; again with: make nodes SEED={seed} KILLS={arguments.kills}")
    # Clients log much while nodes come and go. The folder has the logs of the nodes.
    logging.basicConfig(level=logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="headrace-nodes-") as scratch:
        report, is_good = asyncio.run(
            _run(arguments, seed, arguments.keep or Path(scratch), console)
        )
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / "nodes.json"
    path.write_bytes(orjson.dumps({"seed": seed, **report}, option=orjson.OPT_INDENT_2) + b"\n")
    console.print("every promise kept" if is_good else "NOT GOOD")
    return 0 if is_good else 1


async def _run(
    arguments: argparse.Namespace, seed: int, folder: Path, console: Console
) -> tuple[dict[str, Any], bool]:
    deliveries: list[Delivery] = arguments.delivery or ["at_least_once", "exactly_once"]
    parts = arguments.part or PARTS
    report: dict[str, Any] = {each: {} for each in parts}
    is_good = True
    for delivery in deliveries:
        if "kills" in parts:
            orders = draw(seed, -(-arguments.kills // len(deliveries)), delivery)
            kills = await run_rounds(
                delivery,
                orders,
                seed,
                folder / f"kills-{delivery}",
                lambda kill: console.print(f"  {_line(kill)}"),
            )
            is_good &= not kills.verdict.violations
            report["kills"][delivery] = {
                "orders": [dataclasses.asdict(each) for each in orders],
                "kills": [dataclasses.asdict(each) for each in kills.kills],
                "verdict": dataclasses.asdict(kills.verdict),
            }
            console.print(f"{delivery}, {len(kills.kills)} kills: {_judgement(kills.verdict)}")
        if "upgrade" in parts:
            ratio, verdict = await run_upgrade(delivery, seed, folder / f"upgrade-{delivery}")
            is_good &= not verdict.violations
            report["upgrade"][delivery] = {
                "rate_ratio": ratio,
                "verdict": dataclasses.asdict(verdict),
            }
            console.print(
                f"{delivery}, upgrade at {ratio} of the rate before: {_judgement(verdict)}"
            )
    if "scaling" in parts:
        replicas, verdict = await run_scaling(seed, folder / "scaling")
        is_good &= not verdict.violations
        report["scaling"] = {"most_replicas": replicas, "verdict": dataclasses.asdict(verdict)}
        console.print(f"scaling, most replicas by node {replicas}: {_judgement(verdict)}")
    return report, is_good


def _line(kill: Kill) -> str:
    back = "not within 60 s" if kill.full_after_s is None else f"after {kill.full_after_s} s"
    return (
        f"{kill.node}: {kill.before_per_s} records/s before, {kill.away_ratio} of it while away, "
        f"longest gap {kill.longest_gap_s} s, full rate {back}"
    )


def _judgement(verdict: Verdict) -> str:
    counts = f"{verdict.accepted} records, {verdict.lost} lost, {verdict.doubled} doubled"
    if verdict.violations:
        return f"{counts}, BROKEN: {dict(verdict.violations)} {verdict.examples[:3]}"
    return counts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
