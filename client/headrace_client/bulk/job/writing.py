"""Outcomes become rows of OUT, and checkpoints.

Called from one thread at a time, which is not the event loop's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headrace_client.bulk.job.chunks import NO_ITEM, Chunk, Numbers, WritableRows
from headrace_client.bulk.job.freeing import give_back_memory
from headrace_client.bulk.job.state.checkpoints import CheckpointStore
from headrace_client.bulk.job.state.failed_items import FailedItems
from headrace_client.bulk.output.answered import AnsweredRows, Failure
from headrace_client.bulk.output.parts import Part, PartWriter
from headrace_client.bulk.output.stores import ItemAnswers
from headrace_client.jobs import Piece

_WRITTEN_BYTES = 1024 * 1024
"""Of answers that are brought together at a time: rows that repeat others may be many, and a
vector as text takes five times its size."""


@dataclass(frozen=True, slots=True)
class ReadyAnswers:
    """The answers of one request, ready to be written.

    Attributes:
        answers: An array [items, dimensions] of vectors, or a list of bodies.
        failures: Items of the request that have no usable answer, by their place in it.
    """

    answers: Any
    failures: Mapping[int, Failure]


class RowWriter:
    """Writes rows whose items have outcomes.

    Args:
        parts: Where rows go.
        answers: Keeps answers until their rows are written.
        failed: Keeps why items failed.
        store: The checkpoint database.
        has_vectors: Whether answers are vectors; else they are bodies.
    """

    def __init__(
        self,
        parts: PartWriter,
        answers: ItemAnswers[Any],
        failed: FailedItems,
        store: CheckpointStore,
        *,
        has_vectors: bool,
    ) -> None:
        self._parts = parts
        self._answers = answers
        self._failed = failed
        self._store = store
        self._has_vectors = has_vectors
        self._item_bytes = 1
        self.rows_written = 0
        self.rows_failed = 0

    @property
    def is_due(self) -> bool:
        """A part is full: finish it, and keep a checkpoint."""
        return self._parts.is_due

    def write(
        self, pieces: Sequence[Piece], writable: Sequence[WritableRows], keep_from: int
    ) -> None:
        """Take outcomes, then write rows.

        Args:
            pieces: Outcomes, in the order taken.
            writable: Rows whose items have outcomes.
            keep_from: Items below this one are wanted again only by rows that repeat others.
        """
        for piece in pieces:
            self._put(piece)
        for chunk, positions in writable:
            at_once = max(1, _WRITTEN_BYTES // self._item_bytes)
            for low in range(0, len(positions), at_once):
                self._parts.write(self._answered(chunk, positions[low : low + at_once]))
        self._answers.forget(keep_from)
        self._failed.forget(keep_from)

    def finish_part(self) -> dict[str, Any]:
        """Make durable what was written; return what the checkpoint is to hold of it."""
        self._parts.finish_part()
        give_back_memory()
        return {
            "parts": [each.to_json() for each in self._parts.parts],
            "answers": self._answers.sync(),
            "rows_written": self.rows_written,
            "rows_failed": self.rows_failed,
        }

    def save(self, body: Mapping[str, Any], latest: Callable[[], Mapping[str, Any]]) -> None:
        """Keep a checkpoint, as ``CheckpointStore.save``; returns when it is durable."""
        self._store.save(body, latest)

    def recover(self, body: Mapping[str, Any] | None) -> None:
        """Go back to a checkpoint; ``None`` for a new job."""
        written = {} if body is None else body
        self._parts.recover([Part.from_json(each) for each in written.get("parts", ())])
        self._answers.recover(written.get("answers"))
        self.rows_written = written.get("rows_written", 0)
        self.rows_failed = written.get("rows_failed", 0)

    @property
    def parts(self) -> list[Part]:
        return self._parts.parts

    @property
    def dimensions(self) -> int | None:
        """Components of a vector; ``None`` before the first one."""
        return self._parts.dimensions

    def close(self) -> None:
        """Let go of files; what was not finished is written again by the next process."""
        self._parts.abandon()
        self._answers.close()

    def _put(self, piece: Piece) -> None:
        failure = piece.failure
        if failure is not None:
            reason = Failure(failure.code, failure.message, failure.retryable)
            self._failed.add(dict.fromkeys(range(piece.first, piece.end), reason))
            return
        ready: ReadyAnswers = piece.payload
        low, high = piece.first - piece.request_first, piece.end - piece.request_first
        answers = ready.answers[low:high]
        self._answers.put(piece.first, answers)
        size_bytes = answers.nbytes if self._has_vectors else sum(map(len, answers))
        self._item_bytes = max(1, size_bytes // max(1, len(answers)))
        if ready.failures:
            self._failed.add(
                {
                    piece.request_first + at: reason
                    for at, reason in ready.failures.items()
                    if low <= at < high
                }
            )

    def _answered(self, chunk: Chunk, positions: Numbers) -> AnsweredRows:
        whole = len(positions) == len(chunk)
        items = chunk.items if whole else chunk.items[positions]
        failures = self._failures(chunk, positions, items)
        if failures:
            items = items.copy()
            items[list(failures)] = NO_ITEM
        answers = self._answers.take(items)
        self.rows_written += len(positions)
        self.rows_failed += len(failures)
        return AnsweredRows(
            row_numbers=chunk.row_numbers if whole else chunk.row_numbers[positions],
            columns=_columns(chunk, positions),
            vectors=answers if self._has_vectors else None,
            bodies=None if self._has_vectors else answers,
            custom_ids=None
            if chunk.custom_ids is None
            else [chunk.custom_ids[at] for at in positions.tolist()],
            failures=failures,
        )

    def _failures(self, chunk: Chunk, positions: Numbers, items: Numbers) -> dict[int, Failure]:
        failures: dict[int, Failure] = {}
        if chunk.failures:
            for place, at in enumerate(positions.tolist()):
                if at in chunk.failures:
                    failures[place] = chunk.failures[at]
        failures.update(self._failed.among(items))
        return failures


def _columns(chunk: Chunk, positions: Numbers) -> pa.RecordBatch:
    if len(positions) == len(chunk):
        return chunk.columns
    start = int(positions[0])
    if int(positions[-1]) - start + 1 == len(positions):
        return chunk.columns.slice(start, len(positions))
    return chunk.columns.take(pa.array(positions))
