"""Memory does not grow with the rows: a process for each size, and its largest resident set."""

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import resource
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from headrace_client.bulk.output.answered import AnsweredRows, Failure
from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.ending import Ending
from headrace_client.bulk.output.layout import Layout, OutFormat, VectorAnswers, VectorDtype
from headrace_client.bulk.output.parts import PartWriter
from headrace_client.bulk.output.stores import VectorStore

folder, out_format, total = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
carried = pa.schema([("id", pa.int64())])
layout = Layout(
    format=OutFormat(out_format), answers=VectorAnswers(), carried=carried,
    part_bytes=1 << 20, row_group_bytes=1 << 18,
)
failure = Failure("c", "m", retryable=True)
destination = Destination.of(str(folder / f"out.{out_format}"))
store = VectorStore(destination.state_directory, VectorDtype.FLOAT32)
store.recover(None)
writer = PartWriter(layout, destination.state_directory)
writer.recover([])
for first in range(0, total, 1000):
    numbers = np.arange(first, first + 1000)
    store.put(first, np.tile(numbers[:, None], 4).astype(np.float32))
    writer.write(AnsweredRows(
        row_numbers=numbers,
        columns=pa.record_batch([pa.array(numbers)], schema=carried),
        vectors=store.take(numbers),
        failures={7: failure},
    ))
    if writer.is_due:
        writer.finish_part()
        store.sync()
writer.finish_part()
ending = Ending(layout, destination)
assert ending.finish(writer.parts).failed_rows == total // 1000
ending.clean()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def resident_kib(folder: Path, out_format: str, rows: int) -> int:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(folder), out_format, str(rows)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return int(done.stdout)


@pytest.mark.parametrize("out_format", ["parquet", "npy", "arrow"])
def test_a_million_rows_take_the_memory_of_ten_thousand(out_format: str, tmp_path: Path) -> None:
    few = resident_kib(tmp_path / "few", out_format, 10_000)
    many = resident_kib(tmp_path / "many", out_format, 1_000_000)

    assert many < 1.2 * few, f"{many / few:.2f} times"
