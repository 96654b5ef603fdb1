"""Vectors in a flat file, by item."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_client.bulk.output.errors import (
    ModelChangedError,
    PartsBrokenError,
    full_disk_explained,
)
from headrace_client.bulk.output.files import LOCAL_FILES, Files, FileSink, as_bytes
from headrace_client.bulk.output.layout import VectorDtype
from headrace_client.bulk.output.stores.answers import runs

FILE_NAME = "items.vectors"


class VectorStore:
    """Vectors in a file of the state directory: an item's is at item times its size.

    The file's pages are the kernel's: the process holds nothing.

    Raises:
        DiskFullError, PartsBrokenError: from ``put``, ``sync``; from ``recover``, ``take``.
    """

    def __init__(
        self, state_directory: Path, dtype: VectorDtype, *, files: Files = LOCAL_FILES
    ) -> None:
        self._path = state_directory / FILE_NAME
        self._dtype = dtype.numpy
        self._files = files
        self._sink: FileSink | None = None
        self._dimensions: int | None = None

    def recover(self, mark: Mapping[str, Any] | None) -> None:
        self.close()
        self._dimensions = mark["dimensions"] if mark else None
        items = mark["items"] if mark else 0
        self._files.make_directory(self._path.parent)
        sink = self._sink = self._files.open(self._path)
        if sink.size < items * self._record_bytes:
            raise PartsBrokenError(
                f"{self._path} is shorter than the checkpoint says: the state directory was "
                "changed. Put the file back, or remove the state directory to begin anew"
            )
        sink.truncate(items * self._record_bytes)

    def put(self, first: int, answers: NDArray[Any]) -> None:
        dimensions = answers.shape[1]
        if self._dimensions is None:
            self._dimensions = dimensions
        elif dimensions != self._dimensions:
            raise ModelChangedError(
                f"vectors of {dimensions:,} components came after some of {self._dimensions:,}: "
                "the model changed while the job ran"
            )
        sink = self._opened()
        data = np.ascontiguousarray(answers, self._dtype)
        offset = first * self._record_bytes
        with full_disk_explained(self._explain_full):
            sink.write_at(offset, as_bytes(data))
        sink.size = max(sink.size, offset + data.nbytes)

    def take(self, items: NDArray[np.int64]) -> NDArray[Any]:
        sink = self._opened()
        vectors = np.zeros((len(items), self._dimensions or 0), self._dtype)
        for start, end, first in runs(items):
            target = as_bytes(vectors[start:end])
            if sink.read_into(first * self._record_bytes, [target]) != target.nbytes:
                raise PartsBrokenError(
                    f"{self._path} has no vector of item {first + end - start - 1}: the state "
                    "directory was changed. Run the same command again"
                )
        return vectors

    def forget(self, below: int) -> None:
        """Nothing: a later row may repeat an item."""

    def sync(self) -> dict[str, Any]:
        sink = self._opened()
        with full_disk_explained(self._explain_full):
            sink.sync()
        if self._dimensions is None:
            return {"dimensions": None, "items": 0}
        return {"dimensions": self._dimensions, "items": sink.size // self._record_bytes}

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    @property
    def _record_bytes(self) -> int:
        return (self._dimensions or 0) * self._dtype.itemsize

    def _opened(self) -> FileSink:
        if self._sink is None:
            raise RuntimeError("recover() comes first. This is a bug.")
        return self._sink

    def _explain_full(self) -> str:
        return (
            f"no room on the disk of {self._path}, which keeps one vector of each distinct text "
            f"({self._record_bytes:,} bytes). Make room and run the same command again: it goes on "
            "from the last checkpoint. Without --dedupe the file is not needed"
        )
