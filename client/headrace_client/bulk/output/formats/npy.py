"""NumPy's .npy: vectors only, a row for every row of the input. A block is an array."""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_client.bulk.output.answered import AnsweredRows
from headrace_client.bulk.output.errors import OutputUsageError
from headrace_client.bulk.output.files import FileSink, as_bytes
from headrace_client.bulk.output.formats.file_format import FileFormat
from headrace_client.bulk.output.layout import MIB, Layout, VectorAnswers

_READ_BYTES = 4 * MIB


class Npy:
    """Failed rows are NaN, or zeros where the dtype has none."""

    suffix = ".npy"
    keeps_failed = True

    def __init__(self, layout: Layout) -> None:
        if not isinstance(layout.answers, VectorAnswers):
            raise OutputUsageError("a .npy file holds vectors only")
        self._dtype = layout.answers.dtype.numpy
        self.parts: FileFormat = self
        self._nothing: float = np.nan if layout.answers.dtype.is_float else 0

    def block(self, rows: AnsweredRows, dimensions: int | None) -> NDArray[Any]:
        count = len(rows.row_numbers)
        if len(rows.failures) == count:
            return self._blank(count, dimensions or 0)
        vectors = rows.kept_vectors()
        if not rows.failures:
            return np.ascontiguousarray(vectors, self._dtype)
        block = self._blank(count, vectors.shape[1])
        block[rows.kept] = vectors
        return block

    def block_rows(self, block: NDArray[Any]) -> int:
        return len(block)

    def block_bytes(self, block: NDArray[Any]) -> int:
        return block.nbytes

    def writer(self, sink: FileSink, dimensions: int | None) -> "ArrayWriter":
        return ArrayWriter(sink, self._blank(0, dimensions or 0), self._blank)

    def reader(self, paths: Sequence[Path], dimensions: int | None) -> "ArrayReader":  # noqa: ARG002
        return ArrayReader(paths)

    def dimensions(self, path: Path) -> int | None:
        with path.open("rb") as file:
            return _header(file)[0][1] or None

    def _blank(self, rows: int, dimensions: int) -> NDArray[Any]:
        return np.full((rows, dimensions), self._nothing, self._dtype)

    def check(self, path: Path, rows: int) -> None:
        with path.open("rb") as file:
            shape, dtype, start = _header(file)
            size = file.seek(0, io.SEEK_END)
        if shape[0] != rows:
            raise ValueError(f"it has {shape[0]:,} rows, not {rows:,}")
        if size != start + rows * shape[1] * dtype.itemsize:
            raise ValueError("it is cut short")

    def join(self, paths: Sequence[Path], sink: FileSink, dimensions: int | None) -> None:
        writer = self.writer(sink, dimensions)
        for path in paths:
            writer.copy(path)
        writer.finish()


class ArrayWriter:
    """Writes an array, whose rows may have no length until the first that did not fail.

    The header is written once more in the end: only then the number of rows is known.
    """

    def __init__(
        self, sink: FileSink, empty: NDArray[Any], blank: Callable[[int, int], NDArray[Any]]
    ) -> None:
        self._sink = sink
        self._empty = empty
        self._blank = blank
        self._rows = 0
        sink.write(self._header())

    def write(self, block: NDArray[Any]) -> None:
        if not self._has_length_of(block.shape[1]):
            self._write_blank(len(block))
        elif len(block):
            self._sink.write(as_bytes(np.ascontiguousarray(block)))
        self._rows += len(block)

    def copy(self, path: Path) -> None:
        with path.open("rb") as file:
            (rows, width), _, start = _header(file)
        if not self._has_length_of(width):
            self._write_blank(rows)
        else:
            self._sink.copy(path, start)
        self._rows += rows

    def finish(self) -> None:
        self._sink.write_at(0, self._header())

    def abandon(self) -> None:
        """Nothing is kept."""

    def _has_length_of(self, width: int) -> bool:
        """Learn the length of rows; false for rows that have none yet, all of them failed."""
        if width and not self._width:
            self._empty = self._blank(0, width)
            self._write_blank(self._rows)
        return width == self._width

    def _write_blank(self, rows: int) -> None:
        if not self._width:
            return
        at_once = max(1, _READ_BYTES // (self._width * self._empty.itemsize))
        for start in range(0, rows, at_once):
            self._sink.write(as_bytes(self._blank(min(at_once, rows - start), self._width)))

    @property
    def _width(self) -> int:
        return int(self._empty.shape[1])

    def _header(self) -> bytes:
        # NumPy leaves room for any number of rows, so that the header may be written again.
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(  # type: ignore[no-untyped-call]
            header,
            {
                "descr": self._empty.dtype.str,
                "fortran_order": False,
                "shape": (self._rows, self._width),
            },
        )
        return header.getvalue()


class ArrayReader:
    """Vectors of several files, one after another."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._blocks = _blocks(paths)
        self._block: NDArray[Any] = np.empty((0, 0))

    def take(self, rows: int) -> Iterator[NDArray[Any]]:
        while rows:
            if not len(self._block):
                block = next(self._blocks, None)
                if block is None:
                    return
                self._block = block
            piece, self._block = self._block[:rows], self._block[rows:]
            rows -= len(piece)
            yield piece


def _blocks(paths: Sequence[Path]) -> Iterator[NDArray[Any]]:
    for path in paths:
        with path.open("rb") as file:
            (left, width), dtype, _ = _header(file)
            at_once = max(1, _READ_BYTES // max(1, width * dtype.itemsize))
            while left:
                rows = min(at_once, left)
                data = file.read(rows * width * dtype.itemsize)
                yield np.frombuffer(data, dtype).reshape(rows, width)
                left -= rows


def _header(file: io.BufferedReader) -> tuple[tuple[int, int], "np.dtype[np.generic]", int]:
    """Shape, dtype, and where the numbers begin."""
    np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
    return (shape[0], shape[1]), dtype, file.tell()
