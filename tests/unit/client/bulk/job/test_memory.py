"""Memory does not grow with the rows: the peak of the whole command, without brokers."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace_client.wire.exact_json import exact_json

_ROOT = Path(__file__).parents[5]
_PROGRAM = "tests.unit.client.bulk.job.topics_in_memory"
# The few are enough to fill what is bounded: windows, buffers of readers and writers, a row group.
_FEW, _MANY = 20_000, 100_000
_SOME_TEXT = "of the water that drives a mill, and of the men who look after it, " * 4

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the peak is read from /proc"
)


def peak_kib(folder: Path, rows: int, out: str, settings: Mapping[str, str]) -> int:
    folder.mkdir()
    source = folder / "in.parquet"
    texts = [f"{number} {_SOME_TEXT}" for number in range(rows)]
    pq.write_table(pa.table({"id": range(rows), "text": texts}), source, row_group_size=rows)
    done = subprocess.run(
        [
            *(sys.executable, "-m", _PROGRAM, "embed", str(source), str(folder / out)),
            *("--bootstrap", "nowhere:1", "--requests-topic", "in", "--results-topic", "out"),
            *("--column", "text", "--json"),
        ],
        cwd=_ROOT,
        env={**os.environ, **settings, "PYTHONPATH": f"{_ROOT}:{_ROOT / 'client'}"},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return int(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("out", "settings", "most"),
    [
        ("out.parquet", {}, 1.25),
        # Writing is slow, so that answers wait for it.
        ("out.jsonl", {}, 1.25),
        # Some answers come late, and those of the window wait for their turn.
        ("out.parquet", {"LATE_EVERY": "400", "LATE_BY": "2000"}, 1.25),
    ],
)
def test_many_rows_take_the_memory_of_few(
    out: str, settings: Mapping[str, str], most: float, tmp_path: Path
) -> None:
    few = peak_kib(tmp_path / "few", _FEW, out, settings)
    many = peak_kib(tmp_path / "many", _MANY, out, settings)

    assert many <= most * few, f"{many / 1024:.0f} MiB are {many / few:.2f} times {few / 1024:.0f}"


def test_json_that_is_kept_takes_no_more_than_it_has() -> None:
    kept = [exact_json(f"{number} {_SOME_TEXT}") for number in range(10)]

    assert kept[3] == f'"3 {_SOME_TEXT}"'.encode()
