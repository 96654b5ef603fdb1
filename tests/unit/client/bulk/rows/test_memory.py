"""Memory does not grow with the input: the peak of a process with many times the rows."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

_READING = """
import sys
from headrace_client.bulk.rows.source import Source
from headrace_client.bulk.rows.texts import TextColumn

source = Source.open([sys.argv[1]])
column = TextColumn(source.schema)
rows_done = 0
for rows in source.select(needed=column.columns).batches():
    rows_done += sum(map(bool, column.render(rows).payloads))
"""
_NUMBERING = """
import sqlite3, sys
from headrace_client.bulk.rows.identity import identity
from headrace_client.bulk.rows.seen import SeenItems

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA synchronous = OFF")
seen = SeenItems(connection)
rows_done = 0
while rows_done < int(sys.argv[2]):
    rows = range(rows_done, rows_done + 2000)
    identities = [identity(b"%d" % row) for row in rows]
    rows_done += seen.assign(identities, rows, next_item=rows_done).new
    connection.execute("COMMIT")
"""
_SAYING = """
status = open("/proc/self/status").read()
print(rows_done, status.partition("VmHWM:")[2].split()[0])
"""
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the peak is read from /proc"
)


def table_of(rows: int, text_bytes: int = 20) -> pa.Table:
    """Texts that are all different, without a Python object for each."""
    letters = np.random.default_rng(rows).integers(97, 123, rows * text_bytes, dtype=np.uint8)
    digits = np.char.zfill(np.arange(rows).astype("S7"), 7).view(np.uint8).reshape(rows, 7)
    letters.reshape(rows, text_bytes)[:, :7] = digits
    offsets = np.arange(rows + 1, dtype=np.int64) * text_bytes
    texts = pa.LargeStringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(letters))
    return pa.table({"text": texts, "id": np.arange(rows)})


def one_row_group(path: Path, rows: int) -> None:
    pq.write_table(table_of(rows), path, row_group_size=rows, use_dictionary=False)


def one_record_batch(path: Path, rows: int) -> None:
    table = table_of(rows)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def many_lines(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.writelines(f'{{"text": "Text number {n}", "id": {n}}}\n' for n in range(rows))


def many_records(path: Path, rows: int) -> None:
    with path.open("w") as file:
        file.write("text,id\n")
        file.writelines(f"Text number {n},{n}\n" for n in range(rows))


@pytest.mark.parametrize(
    ("suffix", "write", "many"),
    [
        (".parquet", one_row_group, 1_000_000),
        (".arrow", one_record_batch, 1_000_000),
        (".jsonl", many_lines, 300_000),
        (".csv", many_records, 300_000),
    ],
)
def test_peak_of_reading(
    suffix: str, write: Callable[[Path, int], None], many: int, tmp_path: Path
) -> None:
    peaks: dict[int, int] = {}
    for rows in (10_000, many):
        path = tmp_path / f"{rows}{suffix}"
        write(path, rows)
        peaks[rows] = _peak_kib(_READING, rows, str(path))

    assert peaks[many] <= 1.2 * peaks[10_000], peaks


def test_peak_of_numbering(tmp_path: Path) -> None:
    peaks = {
        rows: _peak_kib(_NUMBERING, rows, str(tmp_path / f"{rows}.sqlite"), str(rows))
        for rows in (10_000, 300_000)
    }

    assert peaks[300_000] <= 1.2 * peaks[10_000], peaks


def _peak_kib(script: str, rows: int, *arguments: str) -> int:
    process = subprocess.run(
        [sys.executable, "-c", script + _SAYING, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    rows_done, peak_kib = map(int, process.stdout.split())
    assert rows_done == rows
    return peak_kib
