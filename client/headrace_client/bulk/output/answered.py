"""Rows with their answers, as they go to OUT."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no answer."""

    code: str
    message: str
    retryable: bool
    columns: Mapping[str, Any] | None = None
    """The row as the failed file shows it; ``None``: its columns of ``AnsweredRows.inputs``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRows:
    """Some rows, each with an answer or a failure.

    Exactly one of ``vectors`` and ``bodies`` is set, unless every row failed.
    """

    row_numbers: NDArray[np.int64]
    """From 0. Ascending, and above those written before, where OUT is in input order."""
    columns: pa.RecordBatch
    """The columns that OUT carries along; as many rows as ``row_numbers``."""
    vectors: NDArray[Any] | None = None
    """[rows, dimensions] of the layout's dtype; a failed row's is anything."""
    bodies: Sequence[bytes] | None = None
    """Response bodies, JSON, as they came; a failed row's is anything."""
    custom_ids: Sequence[str] | None = None
    """For lines of an OpenAI Batch output file."""
    failures: Mapping[int, Failure] = field(default_factory=dict)
    """By position in this batch."""
    inputs: pa.RecordBatch | None = None
    """All input columns, for the failed file; ``None``: it shows ``columns``."""

    @property
    def kept(self) -> NDArray[np.int64]:
        """The positions of the rows that have an answer."""
        positions = np.arange(len(self.row_numbers), dtype=np.int64)
        if not self.failures:
            return positions
        return np.delete(positions, np.fromiter(self.failures, np.int64, len(self.failures)))

    def kept_columns(self) -> pa.RecordBatch:
        return self.columns.take(pa.array(self.kept)) if self.failures else self.columns

    def kept_vectors(self) -> NDArray[Any]:
        if self.vectors is None:
            raise ValueError("rows that did not fail came without vectors. This is a bug.")
        return self.vectors[self.kept] if self.failures else self.vectors

    def kept_bodies(self) -> list[bytes]:
        if self.bodies is None:
            raise ValueError("rows that did not fail came without bodies. This is a bug.")
        bodies = self.bodies
        return [bodies[at] for at in self.kept.tolist()]
