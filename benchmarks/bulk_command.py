"""Runs ``headrace bulk embed`` as users do, in a process of its own, and measures it."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.load import BenchmarkFailedError, Topics
from benchmarks.processes import MemorySampler

TIMEOUT_S = 1_800.0
ROW_GROUP_ROWS = 10_000
_ROOT = Path(__file__).resolve().parents[1]
_PROGRAM = "from headrace_client.cli import main; main()"


@dataclass(frozen=True, slots=True)
class BulkRun:
    """What one run of the command took.

    Attributes:
        rows: All of them, in OUT.
        rows_per_s: From the first request to OUT's end, so without the start of Python.
        cpu_s: Of the command from its first request on.
        peak_mib: Resident memory.
    """

    rows: int
    rows_per_s: float
    cpu_s: float
    peak_mib: float


def write_texts(path: Path, texts: Sequence[str], row_group_rows: int = ROW_GROUP_ROWS) -> None:
    table = pa.table({"id": range(len(texts)), "text": texts})
    pq.write_table(table, path, row_group_size=row_group_rows)


def run_bulk_embed(
    source: Path, bootstrap: str, topics: Topics, rows: int, options: Sequence[str] = ()
) -> BulkRun:
    """Embed ``source`` into a file that is thrown away, and check that it has all rows.

    Raises:
        BenchmarkFailedError: It failed, hung, or lost rows.
    """
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        out = Path(folder) / "out.parquet"
        command = [
            *(sys.executable, "-c", _PROGRAM, "bulk", "embed", str(source), str(out)),
            *("--bootstrap", bootstrap, "--group", topics.group, "--json"),
            *("--requests-topic", topics.requests, "--results-topic", topics.results),
            *options,
        ]
        environment = {**os.environ, "PYTHONPATH": f"{_ROOT}:{_ROOT / 'client'}"}
        with (
            (Path(folder) / "stderr").open("w") as errors,
            subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=errors,
            ) as process,
            MemorySampler(psutil.Process(process.pid)) as memory,
        ):
            ender = threading.Timer(TIMEOUT_S, process.kill)
            ender.start()
            lines: list[str] = []
            last_s = 0.0
            for line in process.stdout or ():
                lines.append(line)
                last_s = time.perf_counter()  # noqa: TID251 - a measurement
            process.wait()
            ender.cancel()
            # OUT is made of its parts after the last report.
            end_s = time.perf_counter() - last_s  # noqa: TID251 - a measurement
        if process.returncode != 0:
            said = (Path(folder) / "stderr").read_text()[-2_000:]
            raise BenchmarkFailedError(f"bulk embed ended with status {process.returncode}: {said}")
        written = pq.read_metadata(out).num_rows
        if written != rows:
            raise BenchmarkFailedError(f"bulk embed wrote {written} rows of {rows}")
    last = json.loads(lines[-1])
    return BulkRun(
        rows=rows,
        rows_per_s=rows / (last["elapsed_s"] + end_s),
        cpu_s=last["cpu_s"],
        peak_mib=memory.peak_mib,
    )
