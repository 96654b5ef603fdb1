"""Rows become parts: complete files of OUT's format, durable before a checkpoint names them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from headrace_client.bulk.output.answered import AnsweredRows
from headrace_client.bulk.output.errors import (
    ModelChangedError,
    OutputError,
    PartsBrokenError,
    full_disk_explained,
    in_bytes,
)
from headrace_client.bulk.output.failed import FailedLines
from headrace_client.bulk.output.files import LOCAL_FILES, Files, FileSink
from headrace_client.bulk.output.formats import BlockWriter, FileFormat, file_format
from headrace_client.bulk.output.layout import Layout, VectorAnswers

DIRECTORY = "parts"
FAILED_SUFFIX = ".failed.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A finished part, to be stored in the checkpoint as ``to_json``.

    Attributes:
        name: Of its files, without suffix.
        first_row: The lowest row number in it, failed rows included.
        end_row: One above the highest.
        rows: In OUT.
        size_bytes: 0 where it has no file, since it has no rows in OUT.
        failed_rows: In the failed file.
        failed_bytes: Of its failed file; 0 where it has none.
        dimensions: Of its vectors.
    """

    name: str
    first_row: int
    end_row: int
    rows: int
    size_bytes: int
    failed_rows: int
    failed_bytes: int
    dimensions: int | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Part":
        return cls(**value)


class PartWriter:
    """Writes answered rows as parts in ``STATE/parts``.

    What was written since the last finished part is lost by a crash; its rows are answered anew
    from Kafka. So a checkpoint is: ``finish_part``, the stores' ``sync``, then one transaction
    that names all parts.

    Args:
        layout: What a row holds.
        state_directory: Where ``parts/`` is made.
        dimensions: Of the vectors that OUT has already, where failed rows are retried.
        rows_expected: Rows of the whole job, if known: a full disk's error then says what is
            needed.
        files: The file system.
    """

    def __init__(
        self,
        layout: Layout,
        state_directory: Path,
        *,
        dimensions: int | None = None,
        rows_expected: int | None = None,
        files: Files = LOCAL_FILES,
    ) -> None:
        self.directory = state_directory / DIRECTORY
        self.rows_expected = rows_expected
        self._layout = layout
        self._format = file_format(layout).parts
        self._files = files
        self._dimensions = dimensions
        self._parts: list[Part] = []
        self._open: _OpenPart | None = None

    @property
    def parts(self) -> list[Part]:
        """All finished parts in order."""
        return list(self._parts)

    @property
    def dimensions(self) -> int | None:
        """Components (bytes, for packed bits) of a vector; ``None`` before the first one."""
        return self._dimensions

    @property
    def is_due(self) -> bool:
        """The open part has the size of a part: finish it, and write a checkpoint."""
        part = self._open
        return part is not None and (
            part.size_bytes >= self._layout.part_bytes or part.all_rows >= self._layout.part_rows
        )

    def recover(self, parts: Sequence[Part]) -> None:
        """Go on after these parts; what the checkpoint does not name is deleted. Call it first.

        Raises:
            PartsBrokenError: one of them is missing or damaged.
        """
        self.abandon()
        self._files.make_directory(self.directory)
        named = set[str]()
        for part in parts:
            self._check(part)
            named |= {path.name for path in part_paths(self.directory, part, self._format.suffix)}
            self._dimensions = part.dimensions or self._dimensions
        for path in self.directory.iterdir():
            if path.name not in named:
                self._files.remove(path)
        self._parts = list(parts)

    def write(self, rows: AnsweredRows) -> None:
        """Add rows to the open part.

        Raises:
            DiskFullError: nothing that a checkpoint names is lost.
            ModelChangedError: vectors of another length than those before.
            OutputError: carried columns that differ from the layout's.
        """
        if not len(rows.row_numbers):
            return
        self._learn(rows)
        part = self._open
        if part is None:
            number = int(self._parts[-1].name.rpartition("-")[2]) + 1 if self._parts else 1
            part = self._open = _OpenPart(self.directory / f"part-{number:06d}")
        block = self._format.block(rows, self._dimensions)
        with full_disk_explained(self._explain_full):
            part.add(rows, block, self._format, self._dimensions, self._files)

    def finish_part(self) -> Part | None:
        """Make the open part durable; ``None`` where nothing was written since the last one.

        Raises:
            DiskFullError: nothing that a checkpoint names is lost.
        """
        if self._open is None:
            return None
        with full_disk_explained(self._explain_full):
            part = self._open.finish(self._dimensions, self._files)
            self._files.sync_directory(self.directory)
        self._open = None
        self._parts.append(part)
        return part

    def abandon(self) -> None:
        """Close what is open without finishing it."""
        if self._open is not None:
            self._open.abandon()
            self._open = None

    def _learn(self, rows: AnsweredRows) -> None:
        answers = self._layout.answers
        if not isinstance(answers, VectorAnswers) or rows.vectors is None:
            return
        if len(rows.failures) == len(rows.row_numbers):
            return
        if rows.vectors.dtype != answers.dtype.numpy:
            raise OutputError(
                f"vectors are {rows.vectors.dtype}, and OUT has {answers.dtype}. This is a bug."
            )
        length = rows.vectors.shape[1]
        if self._dimensions is None:
            self._dimensions = length
        elif length != self._dimensions:
            raise ModelChangedError(
                f"row {rows.row_numbers[0]:,} has a vector of {length:,} components, and earlier "
                f"rows have {self._dimensions:,}: the model changed while the job ran. Bring the "
                "former model back and run the same command again, or begin anew"
            )

    def _check(self, part: Part) -> None:
        what_to_do = (
            "the state directory was changed, or its disk lost data. Bring the file back from a "
            "copy, or remove the state directory and run the job anew"
        )
        sizes = (part.size_bytes, part.failed_bytes)
        for path, size in zip(
            _paths(self.directory / part.name, self._format.suffix), sizes, strict=True
        ):
            if not size:
                continue
            if not path.exists():
                raise PartsBrokenError(
                    f"{path}, which the checkpoint names, is missing: {what_to_do}"
                )
            found = path.stat().st_size
            if found != size:
                raise PartsBrokenError(f"{path} has {found:,} bytes, not {size:,}: {what_to_do}")
        if part.size_bytes:
            path, _ = _paths(self.directory / part.name, self._format.suffix)
            try:
                self._format.check(path, part.rows)
            except (ValueError, OSError, pa.ArrowException) as error:
                raise PartsBrokenError(f"{path} cannot be read ({error}): {what_to_do}") from error

    def _explain_full(self) -> str:
        written_bytes = sum(part.size_bytes + part.failed_bytes for part in self._parts)
        written_rows = sum(part.rows + part.failed_rows for part in self._parts)
        if self._open is not None:
            written_bytes += self._open.size_bytes
            written_rows += self._open.all_rows
        free = in_bytes(self._files.free_bytes(self.directory))
        needed = "the rest of the job needs as much again as its parts and OUT together"
        if self.rows_expected and written_rows:
            rest = max(0, self.rows_expected - written_rows) * written_bytes // written_rows
            # The end writes OUT beside the parts.
            needed = f"the job needs some {in_bytes(2 * rest + written_bytes)} more"
        return (
            f"no room on the disk of {self.directory}: {free} are free, and {needed}. "
            f"{written_rows:,} rows are written. Nothing is lost: make room and run the same "
            "command again, it goes on from the last checkpoint"
        )


class _OpenPart:
    """A part that is being written."""

    def __init__(self, stem: Path) -> None:
        self._stem = stem
        self._sink: FileSink | None = None
        self._writer: BlockWriter | None = None
        self._failed = FailedLines()
        self._first_row = -1
        self._end_row = 0
        self._rows = 0
        self._block_bytes = 0
        self.all_rows = 0

    @property
    def size_bytes(self) -> int:
        return self._block_bytes + self._failed.size_bytes

    def add(
        self,
        rows: AnsweredRows,
        block: Any,
        file_format: FileFormat,
        dimensions: int | None,
        files: Files,
    ) -> None:
        numbers = rows.row_numbers
        lowest = int(np.min(numbers))
        self._first_row = lowest if self._first_row < 0 else min(self._first_row, lowest)
        self._end_row = max(self._end_row, int(np.max(numbers)) + 1)
        self.all_rows += len(numbers)
        self._failed.add(rows)
        count = file_format.block_rows(block)
        if not count:
            return
        if self._writer is None:
            self._sink = files.create(_paths(self._stem, file_format.suffix)[0])
            self._writer = file_format.writer(self._sink, dimensions)
        self._writer.write(block)
        self._rows += count
        self._block_bytes += file_format.block_bytes(block)

    def finish(self, dimensions: int | None, files: Files) -> Part:
        size_bytes = 0
        if self._writer is not None and self._sink is not None:
            self._writer.finish()
            self._sink.sync()
            size_bytes = self._sink.size
            self._sink.close()
        if len(self._failed):
            with files.writing(_paths(self._stem, "")[1]) as sink:
                sink.write(self._failed.sorted_content())
        return Part(
            name=self._stem.name,
            first_row=self._first_row,
            end_row=self._end_row,
            rows=self._rows,
            size_bytes=size_bytes,
            failed_rows=len(self._failed),
            failed_bytes=self._failed.size_bytes,
            dimensions=dimensions,
        )

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
        if self._sink is not None:
            self._sink.close()


def part_paths(directory: Path, part: Part, suffix: str) -> list[Path]:
    """The files that the part has: its rows, its failed rows."""
    rows, failed = _paths(directory / part.name, suffix)
    return [rows] * bool(part.size_bytes) + [failed] * bool(part.failed_bytes)


def _paths(stem: Path, suffix: str) -> tuple[Path, Path]:
    return stem.with_name(stem.name + suffix), stem.with_name(stem.name + FAILED_SUFFIX)
