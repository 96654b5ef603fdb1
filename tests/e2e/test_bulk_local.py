"""``headrace bulk embed --local``: a file in, a file out, and everything between started by it."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.serve]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0
PROGRAM = "from headrace_client.cli import main; main()"


def test_a_newcomers_first_command_embeds_a_file(tmp_path: Path) -> None:
    texts = [f"sentence {number} about bees" for number in range(60)]
    with (tmp_path / "texts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *enumerate(texts)])
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, "bulk", "embed", "--local"),
            *("texts.csv", "out.parquet", "--column", "text"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["text"].to_pylist() == texts
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    assert vectors.shape == (60, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)
    assert len(np.unique(vectors, axis=0)) == 60
