"""Runs a baseline in a process of its own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import BenchmarkFailedError

TIMEOUT_S = 1800.0
_ROOT = Path(__file__).resolve().parents[2]


def run_module(module: str, arguments: Sequence[str]) -> str:
    """Run ``python -m module`` to its end, and return what it printed.

    Raises:
        BenchmarkFailedError: It failed or hung; shows the end of what it said.
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
