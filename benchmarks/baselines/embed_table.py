"""The script that a user would write: read Parquet, encode in sorted chunks, write Parquet.

Run as ``python -m benchmarks.baselines.embed_table``: prints rows a second as one JSON line.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.baselines.offline_encode import BATCH_TEXTS, WARM_UP_TEXTS, load_model

CHUNK_ROWS = 5_000


def main() -> None:
    """Read the command line, warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the model's folder")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    model = load_model(arguments.model, "float32", arguments.threads)
    first = pq.read_table(arguments.source).slice(0, WARM_UP_TEXTS)["text"].to_pylist()
    model.encode(first, batch_size=BATCH_TEXTS)
    started_s = time.perf_counter()  # noqa: TID251 - a measurement
    rows = 0
    writer: pq.ParquetWriter | None = None
    for batch in pq.ParquetFile(arguments.source).iter_batches(CHUNK_ROWS):
        # encode sorts the texts of a call by length.
        vectors = model.encode(batch["text"].to_pylist(), batch_size=BATCH_TEXTS)
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        table = pa.Table.from_batches([batch]).append_column("embedding", column)
        writer = writer or pq.ParquetWriter(arguments.out, table.schema)
        writer.write_table(table)
        rows += batch.num_rows
    if writer is not None:
        writer.close()
    wall_s = time.perf_counter() - started_s  # noqa: TID251 - a measurement
    print(json.dumps({"rows_per_s": rows / wall_s}))


if __name__ == "__main__":
    main()
