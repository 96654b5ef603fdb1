"""Runs a baseline in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import BenchmarkFailedError

TIMEOUT_S = 1800.0
_ROOT = Path(__file__).resolve().parents[2]


def run_module(module: str, arguments: Sequence[str]) -> str:
    """Run ``python -m module`` to its end, and return what it printed.

    Raises:
        BenchmarkFailedError: It failed or hung; the message has the end of its output.
    """
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=_ROOT,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkFailedError(f"{module} did not end within {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        raise BenchmarkFailedError(
            f"{module} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}"
        )
    return done.stdout


def run_measuring_module(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run ``python -m module``, and return the JSON object that it printed on a line of its own.

    This is not always the last line: libraries may print when they end.

    Raises:
        BenchmarkFailedError: It failed or hung, or did not print exactly one.
    """
    lines = run_module(module, arguments).splitlines()
    objects = [line for line in lines if line.startswith("{")]
    if len(objects) != 1:
        raise BenchmarkFailedError(
            f"{module} printed {len(objects)} JSON objects in place of its one measurement"
        )
    measured: dict[str, Any] = json.loads(objects[0])
    return measured
