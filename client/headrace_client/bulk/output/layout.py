"""What OUT is made of: its format, columns and the sizes of its pieces."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from headrace_client.bulk.output.errors import OutputUsageError

MIB = 1 << 20


class OutFormat(StrEnum):
    PARQUET = "parquet"
    LANCE = "lance"
    JSONL = "jsonl"
    NPY = "npy"
    ARROW = "arrow"


class VectorDtype(StrEnum):
    """What a component of a vector is in OUT."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"
    """Eight components a byte, less 128: int8."""
    UBINARY = "ubinary"
    """Eight components a byte: uint8."""

    @property
    def numpy(self) -> "np.dtype[np.generic]":
        match self:
            case VectorDtype.FLOAT32:
                return np.dtype("<f4")
            case VectorDtype.FLOAT16:
                return np.dtype("<f2")
            case VectorDtype.UBINARY:
                return np.dtype("u1")
            case _:
                return np.dtype("i1")

    @property
    def wire(self) -> "np.dtype[np.generic]":
        """What the service sends, in base64."""
        return np.dtype("<f4") if self.is_float else self.numpy

    @property
    def output_dtype(self) -> str:
        """The request's ``output_dtype``."""
        return "float" if self.is_float else self.value

    @property
    def is_float(self) -> bool:
        return self in (VectorDtype.FLOAT32, VectorDtype.FLOAT16)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorAnswers:
    """Rows end in a vector: a fixed-size list in columns, a list in JSONL."""

    column: str = "embedding"
    dtype: VectorDtype = VectorDtype.FLOAT32


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyAnswers:
    """Rows end in a response body: a column of JSON, or lines as OpenAI Batch has them."""

    job: str
    """Makes the lines' ``id``: JOB-ROW."""
    column: str = "response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a row of OUT holds, and how large parts and row groups become.

    Raises:
        OutputUsageError: format, answers and order do not go together, or a column's name is
            taken.
    """

    format: OutFormat
    answers: VectorAnswers | BodyAnswers
    carried: pa.Schema = field(default_factory=lambda: pa.schema([]))
    """The input columns that OUT carries along."""
    ordered: bool = True
    """Rows in input order; otherwise as their answers came."""
    part_bytes: int = 64 * MIB
    part_rows: int = 1_000_000
    row_group_bytes: int = 8 * MIB
    row_group_rows: int = 131_072

    def __post_init__(self) -> None:
        if self.format is OutFormat.NPY:
            if isinstance(self.answers, BodyAnswers):
                raise OutputUsageError(
                    "a .npy file holds vectors only: for responses let OUT end in .jsonl or "
                    ".parquet"
                )
            if not self.ordered:
                raise OutputUsageError(
                    "rows of a .npy file are known by their place: leave out --unordered, or let "
                    "OUT end in .parquet"
                )
        if self.answers.column in self.carried.names and self.format is not OutFormat.NPY:
            raise OutputUsageError(
                f"the input has a column {self.answers.column!r} already: give the answers' "
                "column another name, or do not carry this one along"
            )
        repeated = {name for name in self.carried.names if self.carried.names.count(name) > 1}
        if repeated:
            raise OutputUsageError(
                f"the input has several columns {min(repeated)!r}: carry along columns of "
                "different names"
            )


SUFFIXES = {
    ".parquet": OutFormat.PARQUET,
    ".pq": OutFormat.PARQUET,
    ".lance": OutFormat.LANCE,
    ".jsonl": OutFormat.JSONL,
    ".ndjson": OutFormat.JSONL,
    ".npy": OutFormat.NPY,
    ".arrow": OutFormat.ARROW,
    ".feather": OutFormat.ARROW,
    ".ipc": OutFormat.ARROW,
}


def format_of(out: str) -> OutFormat:
    """The format by OUT's suffix.

    Raises:
        OutputUsageError: no format has the suffix.
    """
    suffix = PurePosixPath(out.rstrip("/")).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputUsageError(
            f"OUT {out!r} must end in one of {', '.join(SUFFIXES)}, or --output-format must say "
            "what it is"
        )
    return SUFFIXES[suffix]
