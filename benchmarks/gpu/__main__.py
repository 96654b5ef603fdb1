"""``python -m benchmarks.gpu [--quick] [--only encoders|generators]``: measure, print, write.

On a machine without an NVIDIA GPU it measures the CPU, and judges no bar: that tries the script.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.context import Context
from benchmarks.environment import choose_broker, describe_machine, usable_cpus
from benchmarks.gpu.encoders import measure_encoders
from benchmarks.gpu.generators import measure_generators
from benchmarks.gpu.report import Measured, to_document
from benchmarks.stage import Stage

PARTS: dict[str, Callable[[Context, str], Iterator[Measured]]] = {
    "encoders": measure_encoders,
    "generators": measure_generators,
}
RESULTS = Path(".headrace/benchmarks/gpu.json")


def main(argv: list[str] | None = None) -> int:
    """Measure; return 1 if a GPU missed a bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file goes")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    console = Console(width=120)

    def say(line: str) -> None:
        console.print(f"  {line}", highlight=False, markup=False)

    say(f"device: {torch.cuda.get_device_name() if device == 'cuda' else 'cpu'}")
    measured: list[Measured] = []
    is_judged = device == "cuda" and not arguments.quick
    choice = choose_broker(os.environ)
    with tempfile.TemporaryDirectory(prefix="headrace-gpu-") as folder:
        scratch = Path(folder)
        with Stage(choice, scratch, say) as stage:
            context = Context(
                stage=stage,
                rounds=1,
                is_quick=arguments.quick,
                cpus=usable_cpus(),
                scratch=scratch,
                say=say,
            )
            environment = {
                **describe_machine(),
                "broker": stage.broker,
                "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
                "is_quick": arguments.quick,
            }
            for part in arguments.only or PARTS:
                for one in PARTS[part](context, device):
                    measured.append(one)
                    say(one.describe())
                    # After each, so that what is cut short leaves something.
                    document = to_document(measured, environment, is_judged=is_judged)
                    arguments.results.parent.mkdir(parents=True, exist_ok=True)
                    arguments.results.write_text(json.dumps(document, indent=2) + "\n")
    missed = [miss for one in measured for miss in one.missed] if is_judged else []
    for miss in missed:
        say(f"missed: {miss}")
    say(f"written: {arguments.results}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
