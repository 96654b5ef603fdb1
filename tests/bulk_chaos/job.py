"""A job of the harness: its input, its command, and what its output must be."""

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bulk_chaos import planted
from tests.bulk_chaos.client import CHECKPOINT_VARIABLE
from tests.bulk_chaos.replica import REFUSED_MARK, vector_of
from tests.chaos.stage.processes import Child

BATCH_ROWS = 16
WINDOW_REQUESTS = 12
_REFUSED_EVERY = 500
_REPEATED_SHARE = 0.03


def draw_texts(seed: int, rows: int) -> list[str]:
    """Texts of uneven length; some are repeated, and a few are refused by the model."""
    rng = random.Random(seed)
    texts: list[str] = []
    for row in range(rows):
        if texts and rng.random() < _REPEATED_SHARE:
            texts.append(rng.choice(texts))
        else:
            mark = f" {REFUSED_MARK}" if rng.randrange(_REFUSED_EVERY) == 0 else ""
            texts.append(f"row {row} of {seed}{mark} " + "mill " * rng.randrange(12))
    return texts


def write_input(path: Path, texts: list[str]) -> None:
    pq.write_table(
        pa.table({"id": list(range(len(texts))), "text": texts}), path, row_group_size=1_000
    )


@dataclass
class BulkJob:
    """One job and its client, which is started again after each kill.

    Attributes:
        name: What its id begins with.
        texts: Of the input's rows.
        source: The input file.
        out: OUT; its name says the format.
        checkpoint_s: Time between checkpoints; ``None`` leaves the product's.
    """

    name: str
    texts: list[str]
    source: Path
    out: Path
    checkpoint_s: float | None = None
    bug: planted.Bug | None = None
    starts: int = 0

    async def start(self, bootstrap: str, topics: tuple[str, str], group: str) -> Child:
        """Start the command; it goes on where a former process was."""
        self.starts += 1
        log = self.out.with_name(f"{self.out.name}.{self.starts}.log")
        client = Child(f"client of {self.name}", log)
        environment = {"PYTHONPATH": os.pathsep.join(("client", "."))}
        if self.checkpoint_s is not None:
            environment[CHECKPOINT_VARIABLE] = str(self.checkpoint_s)
        if self.bug is not None:
            environment[planted.VARIABLE] = self.bug.value
        await client.spawn(
            "tests.bulk_chaos.client",
            *("bulk", "embed", str(self.source), str(self.out), "--column", "text"),
            *("--bootstrap", bootstrap, "--group", group, "--job", self.name),
            *("--requests-topic", topics[0], "--results-topic", topics[1]),
            *("--batch-rows", str(BATCH_ROWS), "--window-requests", str(WINDOW_REQUESTS)),
            environment=environment,
        )
        return client

    @property
    def failed_file(self) -> Path:
        return self.out.with_name(self.out.name + ".failed.jsonl")

    def wrong_rows(self) -> str | None:
        """How the output differs from what the input asks for; ``None`` if it does not."""
        if not self.out.exists() or not self.failed_file.exists():
            return "OUT or its failed file is not there"
        expected = [(row, text) for row, text in enumerate(self.texts) if REFUSED_MARK not in text]
        refused = [row for row, text in enumerate(self.texts) if REFUSED_MARK in text]
        failed = [orjson.loads(line)["row"] for line in self.failed_file.read_bytes().splitlines()]
        if failed != refused:
            return f"failed rows: {len(failed)} and not {len(refused)}, {failed[:5]} ..."
        rows = [(each["id"], each["text"], each["embedding"]) for each in self._rows()]
        if [each[:2] for each in rows] != expected:
            return f"{len(rows)} rows and not {len(expected)}, or other ones, or out of order"
        for number, text, vector in rows:
            if not np.array_equal(np.asarray(vector, np.float32), vector_of(text)):
                return f"row {number} has the vector of another text"
        return None

    def content(self) -> tuple[bytes, bytes]:
        """The bytes of the output's rows and of the failed file, to compare with another run's."""
        if self.out.suffix == ".jsonl":
            return self.out.read_bytes(), self.failed_file.read_bytes()
        table = pq.read_table(self.out).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as stream:
            stream.write_table(table)
        return sink.getvalue().to_pybytes(), self.failed_file.read_bytes()

    def _rows(self) -> list[dict[str, Any]]:
        if self.out.suffix == ".jsonl":
            return [orjson.loads(line) for line in self.out.read_bytes().splitlines()]
        rows: list[dict[str, Any]] = pq.read_table(self.out).to_pylist()
        return rows
