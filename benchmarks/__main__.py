"""``python -m benchmarks [--only NAME] [--rounds N] [--quick]``: measure, print, write."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import results
from benchmarks.context import Context
from benchmarks.environment import choose_broker, describe_machine, usable_cpus
from benchmarks.harness import Result
from benchmarks.registry import Benchmark, find, names
from benchmarks.stage import Stage

RESULTS = Path(__file__).with_name("results")
QUICK_RESULTS = Path(".headrace/benchmarks")
DEFAULT_ROUNDS = 3
PIPED_WIDTH_CHARACTERS = 120


def parse(argv: list[str], known: list[str]) -> argparse.Namespace:
    """Read the command line; exit with a message if it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", metavar="NAME", choices=known, help=f"one of {', '.join(known)}"
    )
    parser.add_argument("--rounds", type=int, help=f"{DEFAULT_ROUNDS} where unset")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: tries the benchmark, measures nothing"
    )
    parser.add_argument("--results", type=Path, help="where the JSON files and plots go")
    arguments = parser.parse_args(argv)
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds must be 1 or more")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks; return 1 if a bar was missed."""
    arguments = parse(sys.argv[1:] if argv is None else argv, names())
    chosen = [find(name) for name in arguments.only or names()]
    rounds = arguments.rounds or (1 if arguments.quick else DEFAULT_ROUNDS)
    folder = arguments.results or (QUICK_RESULTS if arguments.quick else RESULTS)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_WIDTH_CHARACTERS)

    def say(line: str) -> None:
        console.print(f"  {line}", highlight=False, markup=False)

    measured: list[tuple[Benchmark, Result]] = []
    choice = choose_broker(os.environ)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder_name:
        scratch = Path(folder_name)
        with Stage(choice, scratch, say) as stage:
            context = Context(
                stage=stage,
                rounds=rounds,
                is_quick=arguments.quick,
                cpus=usable_cpus(),
                scratch=scratch,
                say=say,
            )
            for benchmark in chosen:
                console.print(
                    f"[bold]{benchmark.name}[/bold]: {benchmark.subject} / {benchmark.baseline}"
                )
                result = benchmark.run(context)
                environment = {
                    **describe_machine(),
                    "broker": stage.broker,
                    "broker_choice": choice.reason,
                    "is_quick": arguments.quick,
                }
                measured.append((benchmark, result))
                say(f"written: {results.write(benchmark, result, environment, folder)}")
    console.print(results.table(measured))
    missed = [one.name for one, result in measured if results.is_met(one, result) is False]
    if missed and not arguments.quick:
        console.print(f"bar missed: {', '.join(missed)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
