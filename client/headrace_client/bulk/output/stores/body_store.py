"""Response bodies in a file, by item."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_client.bulk.output.errors import PartsBrokenError, full_disk_explained
from headrace_client.bulk.output.files import LOCAL_FILES, Files, FileSink, as_bytes
from headrace_client.bulk.output.stores.answers import runs

DATA_NAME = "items.bodies"
PLACES_NAME = "items.places"
_PLACE_BYTES = 16  # offset and length


class BodyStore:
    """Bodies in the order in which they came, and a file of their places by item.

    Raises:
        DiskFullError, PartsBrokenError: from ``put``, ``sync``; from ``recover``, ``take``.
    """

    def __init__(self, state_directory: Path, *, files: Files = LOCAL_FILES) -> None:
        self._data_path = state_directory / DATA_NAME
        self._places_path = state_directory / PLACES_NAME
        self._files = files
        self._data: FileSink | None = None
        self._places: FileSink | None = None

    def recover(self, mark: Mapping[str, Any] | None) -> None:
        self.close()
        self._files.make_directory(self._data_path.parent)
        self._data = self._recovered(self._data_path, mark["bytes"] if mark else 0)
        self._places = self._recovered(
            self._places_path, mark["items"] * _PLACE_BYTES if mark else 0
        )

    def _recovered(self, path: Path, size: int) -> FileSink:
        sink = self._files.open(path)
        if sink.size < size:
            sink.close()
            raise self._changed(path)
        sink.truncate(size)
        return sink

    def put(self, first: int, answers: Sequence[bytes]) -> None:
        data, places = self._opened()
        lengths = np.fromiter(map(len, answers), np.int64, len(answers))
        table = np.empty((len(answers), 2), "<i8")
        table[:, 0] = data.size + np.cumsum(lengths) - lengths
        table[:, 1] = lengths
        with full_disk_explained(self._explain_full):
            data.write(b"".join(answers))
            places.write_at(first * _PLACE_BYTES, as_bytes(table))
        places.size = max(places.size, (first + len(answers)) * _PLACE_BYTES)

    def take(self, items: NDArray[np.int64]) -> list[bytes]:
        _, places = self._opened()
        bodies = [b""] * len(items)
        for start, end, first in runs(items):
            table = np.empty((end - start, 2), "<i8")
            view = as_bytes(table)
            if places.read_into(first * _PLACE_BYTES, [view]) != view.nbytes:
                raise self._changed(self._places_path)
            self._read(table, bodies, start)
        return bodies

    def _read(self, table: NDArray[np.int64], bodies: list[bytes], start: int) -> None:
        """Bodies that were put together lie together, and are read at once."""
        data, _ = self._opened()
        apart = np.flatnonzero(table[1:, 0] != table[:-1, 0] + table[:-1, 1]) + 1
        for piece, begin in zip(np.split(table, apart), [0, *apart.tolist()], strict=True):
            offset = int(piece[0, 0])
            content = bytearray(int(piece[-1, 0] + piece[-1, 1]) - offset)
            if data.read_into(offset, [memoryview(content)]) != len(content):
                raise self._changed(self._data_path)
            for at, (place, length) in enumerate((piece - [offset, 0]).tolist()):
                bodies[start + begin + at] = bytes(content[place : place + length])

    def forget(self, below: int) -> None:
        """Nothing: a later row may repeat an item."""

    def sync(self) -> dict[str, Any]:
        data, places = self._opened()
        with full_disk_explained(self._explain_full):
            data.sync()
            places.sync()
        return {"bytes": data.size, "items": places.size // _PLACE_BYTES}

    def close(self) -> None:
        for sink in (self._data, self._places):
            if sink is not None:
                sink.close()
        self._data = self._places = None

    def _opened(self) -> tuple[FileSink, FileSink]:
        if self._data is None or self._places is None:
            raise RuntimeError("recover() comes first. This is a bug.")
        return self._data, self._places

    def _changed(self, path: Path) -> PartsBrokenError:
        return PartsBrokenError(
            f"{path} is shorter than the checkpoint says: the state directory was changed. Put the "
            "file back, or remove the state directory to begin anew"
        )

    def _explain_full(self) -> str:
        return (
            f"no room on the disk of {self._data_path}, which keeps one answer of each distinct "
            "request. Make room and run the same command again: it goes on from the last "
            "checkpoint. Without --dedupe the file is not needed"
        )
