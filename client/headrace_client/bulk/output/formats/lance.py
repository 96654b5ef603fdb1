"""Lance: a dataset is a directory, which Lance writes from a stream of record batches.

Parts are Arrow IPC files: Lance has no file that could be one.
"""

import errno
import importlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace_client.bulk.output.errors import OutputUsageError
from headrace_client.bulk.output.formats.columnar import (
    ArrowIpc,
    BatchReader,
    IpcParts,
    copied,
    vector_size,
)
from headrace_client.bulk.output.layout import Layout

_READ_ROWS = 1024
_NO_ROOM = os.strerror(errno.ENOSPC)


class _LanceParts(IpcParts):
    def _batches(self, paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        # Lance wants numbers of 16 bytes at addresses that 16 divides, and IPC divides by 8.
        return map(copied, super()._batches(paths))


class Lance(ArrowIpc):
    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._lance = import_lance()
        self.parts = _LanceParts(layout)

    def write_dataset(
        self, blocks: Iterator[pa.RecordBatch], path: Path, dimensions: int | None
    ) -> None:
        """A new dataset with these rows."""
        # Lance takes no vectors of length 0, which those of no rows are.
        schema = self.columns.schema(dimensions or 1)
        failures: list[Exception] = []
        stream = pa.RecordBatchReader.from_batches(schema, _noting(blocks, failures))
        try:
            self._lance.write_dataset(stream, str(path), mode="create")
        except OSError as error:
            if failures:
                raise failures[0] from None
            if _NO_ROOM in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            raise

    def dataset_reader(self, path: Path, dimensions: int | None) -> BatchReader:
        dataset = self._lance.dataset(str(path))
        batches = dataset.to_batches(batch_size=_READ_ROWS, batch_readahead=2)
        return BatchReader(batches, self.columns.schema(dimensions))

    def dataset_dimensions(self, path: Path) -> int | None:
        dataset = self._lance.dataset(str(path))
        return vector_size(dataset.schema, self._layout) if dataset.count_rows() else None


def _noting(
    blocks: Iterator[pa.RecordBatch], failures: list[Exception]
) -> Iterator[pa.RecordBatch]:
    """Keep an error as it was raised: Lance makes a text of it."""
    try:
        yield from blocks
    except Exception as error:
        failures.append(error)
        raise


def import_lance() -> Any:
    """Raises ``OutputUsageError`` where the package is not installed."""
    try:
        return importlib.import_module("lance")
    except ImportError as error:
        raise OutputUsageError(
            "a .lance OUT needs the package pylance: pip install 'headrace-client[lance]' "
            f"({error})"
        ) from None
