"""A job as the shell runs it: rows in batches, a checkpoint after each part, then the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from headrace_client.bulk.output.answered import AnsweredRows, Failure
from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.ending import Ending, Finished
from headrace_client.bulk.output.files import LOCAL_FILES, Files
from headrace_client.bulk.output.layout import (
    BodyAnswers,
    Layout,
    OutFormat,
    VectorAnswers,
    VectorDtype,
)
from headrace_client.bulk.output.parts import Part, PartWriter

DIMENSIONS = 8
CARRIED = pa.schema([("id", pa.int64()), ("text", pa.string())])
FAILURE = Failure("model_failed", "the model failed", retryable=True)


def layout_of(out_format: OutFormat, **changes: Any) -> Layout:
    values: dict[str, Any] = {
        "format": out_format,
        "answers": VectorAnswers(),
        "carried": CARRIED,
        "row_group_bytes": 600,
        "part_rows": 25,
    }
    return Layout(**values | changes)


def vectors_of(numbers: Sequence[int], dtype: VectorDtype = VectorDtype.FLOAT32) -> NDArray[Any]:
    """Another vector for each row, the same whenever it is asked for."""
    table = np.outer(np.asarray(numbers, np.int64) + 1, np.arange(1, DIMENSIONS + 1)) % 127
    return table.astype(dtype.numpy)


def rows_of(
    numbers: Sequence[int],
    failing: Sequence[int] = (),
    answers: VectorAnswers | BodyAnswers = VectorAnswers(),  # noqa: B008 - frozen
) -> AnsweredRows:
    columns = pa.RecordBatch.from_pydict(
        {"id": list(numbers), "text": [f"row {number} é" for number in numbers]}, CARRIED
    )
    return AnsweredRows(
        row_numbers=np.asarray(numbers, np.int64),
        columns=columns,
        vectors=vectors_of(numbers, answers.dtype) if isinstance(answers, VectorAnswers) else None,
        bodies=None
        if isinstance(answers, VectorAnswers)
        else [orjson.dumps({"answer": f"to {number}"}) for number in numbers],
        custom_ids=None
        if isinstance(answers, VectorAnswers)
        else [f"mine-{number}" for number in numbers],
        failures={at: FAILURE for at, number in enumerate(numbers) if number in set(failing)},
    )


@dataclass
class Checkpoint:
    """What the shell's database would hold: it survives every crash."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False

    @property
    def done(self) -> int:
        return self.parts[-1]["end_row"] if self.parts else 0


def run_job(
    layout: Layout,
    destination: Destination,
    numbers: Sequence[int],
    *,
    failing: Sequence[int] = (),
    checkpoint: Checkpoint | None = None,
    files: Files = LOCAL_FILES,
    batch_rows: int = 7,
    retries: bool = False,
) -> Finished | None:
    """``None``: an earlier run had ended it."""
    checkpoint = checkpoint or Checkpoint()
    ending = Ending(layout, destination, files=files)
    if checkpoint.ended:
        ending.clean()
        return None
    finished = ending.resume()
    if finished is None:
        writer = PartWriter(layout, destination.state_directory, files=files)
        try:
            writer.recover([Part.from_json(each) for each in checkpoint.parts])
            left = [number for number in numbers if number >= checkpoint.done]
            for start in range(0, len(left), batch_rows):
                writer.write(rows_of(left[start : start + batch_rows], failing, layout.answers))
                if writer.is_due:
                    _checkpoint(writer, checkpoint)
            _checkpoint(writer, checkpoint)
        finally:
            writer.abandon()
        finished = ending.merge(writer.parts) if retries else ending.finish(writer.parts)
    checkpoint.ended = True
    ending.clean()
    return finished


def _checkpoint(writer: PartWriter, checkpoint: Checkpoint) -> None:
    part = writer.finish_part()
    if part is not None:
        checkpoint.parts.append(orjson.loads(orjson.dumps(part.to_json())))


def tree(path: Path) -> dict[str, bytes]:
    """Every file below, with its content; of a file, the file."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {
        str(each.relative_to(path)): each.read_bytes()
        for each in sorted(path.rglob("*"))
        if each.is_file()
    }
