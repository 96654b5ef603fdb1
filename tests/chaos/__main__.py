"""``python -m tests.chaos [--seed N] [--faults N] [--planted]``: the fault harness.

Writes ``chaos.json``, or ``chaos-planted.json``. The exit status is 1 if a promise was broken, or a
planted bug was not caught.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from headrace.brokers.kafka_home import _find_home, _version
from tests.chaos import report
from tests.chaos.faults.planted import PROVOKED_BY, SHOWS_AS, Bug
from tests.chaos.faults.schedule import ONE_NODE, SERVE, THREE_NODES, Fault, Kind, draw
from tests.chaos.run import Outcome, kinds_for, run_stage
from tests.chaos.stage.stage import Delivery, Plan, Stage

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
DEFAULT_FAULTS = 300
PLANTED_ROUNDS = 3
THREE_NODE_SHARE = 0.1
SERVE_SHARE = 0.06
_PIPED_WIDTH_CHARACTERS = 120

STAGES = ("one-node", "three-nodes", "serve")


@dataclass(frozen=True, slots=True)
class Leg:
    """A stage of a whole run, with its schedule."""

    stage: str
    delivery: Delivery
    faults: Sequence[Fault]


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line; exit with a message if it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of schedule and load; drawn where unset")
    parser.add_argument("--faults", type=int, default=DEFAULT_FAULTS, help="over all stages")
    parser.add_argument("--planted", action="store_true", help="plant bugs and catch each")
    parser.add_argument("--bug", action="append", choices=[b.value for b in Bug], help="only these")
    parser.add_argument(
        "--delivery", action="append", choices=["at_least_once", "exactly_once"], help="only these"
    )
    parser.add_argument("--stage", action="append", choices=STAGES, help="only these")
    parser.add_argument("--kind", action="append", choices=[k.value for k in Kind])
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    parser.add_argument("--keep", type=Path, help="keep data and logs in this folder")
    arguments = parser.parse_args(argv)
    if arguments.faults < 1:
        parser.error("--faults must be 1 or more")
    return arguments


def legs(arguments: argparse.Namespace, seed: int) -> list[Leg]:
    """Divide the faults over stages and deliveries. Pure."""
    deliveries: list[Delivery] = arguments.delivery or ["at_least_once", "exactly_once"]
    stages = arguments.stage or list(STAGES)
    wanted = None if arguments.kind is None else {Kind(each) for each in arguments.kind}
    shares = {"three-nodes": THREE_NODE_SHARE, "serve": SERVE_SHARE}
    shares["one-node"] = 1 - sum(share for name, share in shares.items() if name in stages)
    divided: list[Leg] = []
    left = arguments.faults
    slots = [(stage, delivery) for stage in stages for delivery in deliveries]
    # The one-node stages come last and get the remainder of the division.
    for index, (stage, delivery) in enumerate(sorted(slots, key=lambda s: s[0] == "one-node")):
        is_last = index == len(slots) - 1
        share = shares[stage] if len(stages) > 1 else 1.0
        count = left if is_last else round(arguments.faults * share / len(deliveries))
        left -= count
        kinds = kinds_for(Plan(delivery=delivery), _KINDS[stage])
        kinds = [kind for kind in kinds if wanted is None or kind in wanted]
        if count > 0 and kinds:
            divided.append(Leg(stage, delivery, draw(seed, count, kinds, f"{stage}/{delivery}")))
    return divided


_KINDS: dict[str, Sequence[Kind]] = {
    "one-node": ONE_NODE,
    "three-nodes": THREE_NODES,
    "serve": SERVE,
}


async def run_leg(leg: Leg, seed: int, folder: Path, progress: Progress, whole: TaskID) -> Outcome:
    title = f"{leg.stage}, {leg.delivery.replace('_', '-')}"
    task = progress.add_task(title, total=len(leg.faults), state="starting")

    def on_fault(fault: Fault, stage: Stage) -> None:
        checker = stage.checker
        state = f"{fault.kind.value}: {checker.finished_records:,} records"
        if checker.violations:
            state += f", BROKEN: {dict(checker.violations)}"
        progress.update(task, advance=1, state=state)
        progress.update(whole, advance=1)
        if not progress.console.is_terminal:
            progress.console.print(f"{title} {fault.number}/{len(leg.faults)} {state}")

    is_on_serve = leg.stage == "serve"
    plan = Plan(
        delivery=leg.delivery,
        seed=seed,
        nodes=3 if leg.stage == "three-nodes" else 1,
        members=2 if is_on_serve else 3,
        rate_per_s=60.0 if is_on_serve else 150.0,
    )
    outcome = await run_stage(plan, leg.faults, folder, is_on_serve=is_on_serve, on_fault=on_fault)
    progress.update(task, state=f"{outcome.verdict.accepted:,} records, {_judgement(outcome)}")
    return outcome


async def run_planted(
    bugs: Sequence[Bug], seed: int, folder: Path, console: Console
) -> dict[Bug, Outcome]:
    """Plant each bug, provoke it until the checker finds something, and return what it found."""
    outcomes: dict[Bug, Outcome] = {}
    for bug in bugs:
        once = draw(seed, len(PROVOKED_BY[bug]), PROVOKED_BY[bug], bug.value)
        in_order = sorted(once, key=lambda fault: PROVOKED_BY[bug].index(fault.kind))
        faults = [
            dataclasses.replace(fault, number=number)
            for number, fault in enumerate(in_order * PLANTED_ROUNDS, start=1)
        ]
        # Enough in flight at any moment for a fault to hit something.
        plan = Plan(delivery="at_least_once", seed=seed, bug=bug, rate_per_s=300.0)
        outcome = await run_stage(plan, faults, folder / bug.value, stops_at=SHOWS_AS[bug])
        outcomes[bug] = outcome
        verdict = dict(outcome.verdict.violations)
        found = f"caught: {verdict}" if report.is_caught(bug, outcome.verdict) else "NOT CAUGHT"
        console.print(f"{bug.value}: {found}", highlight=False, markup=False)
    return outcomes


async def run_all(
    divided: Sequence[Leg], seed: int, folder: Path, console: Console
) -> list[Outcome]:
    """Run every leg in turn, under progress bars with rate and time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[state]}"),
    )
    outcomes = []
    with Progress(*columns, console=console, speed_estimate_period=600) as progress:
        whole = progress.add_task("all", total=sum(len(leg.faults) for leg in divided), state="")
        for leg in divided:
            scratch = folder / f"{leg.stage}-{leg.delivery}"
            outcomes.append(await run_leg(leg, seed, scratch, progress, whole))
    return outcomes


def main(argv: list[str] | None = None) -> int:
    """Run the harness; return 1 if something was found, or a planted bug was not."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    seed = random.SystemRandom().randrange(1 << 31) if arguments.seed is None else arguments.seed
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPED_WIDTH_CHARACTERS)
    console.print(f"seed {seed}; again with: make chaos SEED={seed} FAULTS={arguments.faults}")
    # Clients log much while brokers come and go. The folder's logs have the consumers' messages.
    logging.basicConfig(level=logging.CRITICAL)
    broker = f"Apache Kafka {_version(_find_home(None))} from KAFKA_HOME"
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-chaos-"))
        )
        if arguments.planted:
            bugs = [Bug(each) for each in arguments.bug or list(Bug)]
            planted = asyncio.run(run_planted(bugs, seed, folder, console))
            path = arguments.results / "chaos-planted.json"
            report.write(path, report.planted_report(seed, planted))
            is_good = all(report.is_caught(bug, each.verdict) for bug, each in planted.items())
        else:
            outcomes = asyncio.run(run_all(legs(arguments, seed), seed, folder, console))
            path = arguments.results / "chaos.json"
            found = report.chaos_report(seed, outcomes, broker)
            report.write(path, found)
            for delivery, totals in found["deliveries"].items():
                console.print(f"{delivery}: {totals}", highlight=False)
            is_good = not any(outcome.verdict.violations for outcome in outcomes)
    console.print(f"written: {path}", highlight=False)
    return 0 if is_good else 1


def _judgement(outcome: Outcome) -> str:
    violations = outcome.verdict.violations
    return f"BROKEN: {dict(violations)}" if violations else "every promise kept"


if __name__ == "__main__":
    sys.exit(main())
