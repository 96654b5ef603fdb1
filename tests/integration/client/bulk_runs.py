"""Runs ``headrace bulk`` in a process of its own, and checks what it wrote."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.integration.client.answering import vector_of

PATIENCE_S = 120.0
ROOT = Path(__file__).parents[3]
PROGRAM = "import sys; from headrace_client.cli.main import main; main(sys.argv[1:])"


def texts_of(rows: int, first: int = 0) -> list[str]:
    return [f"sentence {number} about mills" for number in range(first, first + rows)]


def write_table(path: Path, texts: Sequence[str | None]) -> None:
    numbers = list(range(len(texts)))
    pq.write_table(pa.table({"id": numbers, "text": texts}), path, row_group_size=500)


def start(*arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "bulk", *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate(timeout=PATIENCE_S)
        raise AssertionError(f"the job has not ended after {PATIENCE_S:g} s: {err}") from None
    return process.returncode, out, err


def bulk(*arguments: object, status: int = 0) -> str:
    """Run the command to its end; return what it said."""
    code, _out, err = finish(start(*arguments))
    assert code == status, err
    return err


def check_out(path: Path, texts: Sequence[str | None]) -> None:
    """OUT has each row once, in order, with its own vector."""
    table = pq.read_table(path)
    assert table["text"].to_pylist() == list(texts)
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    expected = np.stack([vector_of(each or "") for each in texts])
    assert np.array_equal(vectors, expected)
