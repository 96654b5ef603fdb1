"""Copies files from a store that reads ranges: resumed, several pieces at a time, checked.

A file grows in order, so its length says how far it has come; an interrupted copy goes on there.
"""

import hashlib
import logging
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from serve_models.weights.fetching.request import Progress, describe_error
from serve_models.weights.receipts import FileMark
from serve_models.weights.references import ModelSourceError

PIECE_BYTES = 8 * 1024 * 1024
_PIECES_AHEAD = 4
_FILES_AT_A_TIME = 4
"""With the two above it bounds the memory: 128 MiB."""
_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.5
_PARTIAL = ".partial"
_EARLIER = ".earlier"

_PAUSE = threading.Event().wait

log = logging.getLogger(__name__)


class RemoteFile(NamedTuple):
    """A file to copy.

    Attributes:
        name: How the store knows it.
        checksum: An algorithm of ``hashlib`` and a hexadecimal digest, where the store has one.
    """

    name: str
    size_bytes: int
    checksum: tuple[str, str] | None = None


ReadRange = Callable[[str, int, int], bytes]
"""Takes a name, a start and an end, and returns the bytes between; any exception is a failure."""


def partial_directory(directory: Path) -> Path:
    """Return where the files of ``directory`` gather until all are there."""
    return directory.with_name(directory.name + _PARTIAL)


def missing_bytes(files: Mapping[str, RemoteFile], directory: Path) -> int:
    partial = partial_directory(directory)
    return sum(
        file.size_bytes - min(_length_of(partial / path), file.size_bytes)
        for path, file in files.items()
    )


def copy_files(
    files: Mapping[str, RemoteFile],
    read: ReadRange,
    directory: Path,
    progress: Progress,
    pause: Callable[[float], object] = _PAUSE,
) -> tuple[dict[str, FileMark], int]:
    """Copy ``files`` into the partial directory of ``directory``, by their paths there.

    ``directory`` itself appears with ``arrive``. Returns size and SHA-256 of each, and the bytes
    that were read now. Raises ``ModelSourceError`` for a path that leads out of it, a wrong
    checksum, and a store that fails again and again.
    """
    partial = partial_directory(directory)
    with (
        ThreadPoolExecutor(_FILES_AT_A_TIME * _PIECES_AHEAD, "pieces") as readers,
        ThreadPoolExecutor(_FILES_AT_A_TIME, "files") as writers,
    ):
        copies = {
            path: _Copy(file, inside(partial, path), read, readers, progress, pause)
            for path, file in files.items()
        }
        # The largest first, so that none is alone at the end.
        order = sorted(copies, key=lambda path: -files[path].size_bytes)
        running = {path: writers.submit(copies[path].run) for path in order}
        try:
            wait(running.values(), return_when=FIRST_EXCEPTION)
            for future in running.values():
                if future.done():
                    future.result()
            marks = {path: running[path].result() for path in files}
        except BaseException:
            for copy in copies.values():
                copy.stop()
            for future in running.values():
                future.cancel()
            raise
    return marks, sum(copy.read_bytes for copy in copies.values())


def arrive(directory: Path) -> None:
    """Make the partial directory the finished one, in one step."""
    earlier = directory.with_name(directory.name + _EARLIER)
    shutil.rmtree(earlier, ignore_errors=True)
    if directory.is_dir():
        directory.rename(earlier)
    partial_directory(directory).rename(directory)
    _sync_directory(directory.parent)
    shutil.rmtree(earlier, ignore_errors=True)


class _Copy:
    def __init__(
        self,
        file: RemoteFile,
        target: Path,
        read: ReadRange,
        readers: ThreadPoolExecutor,
        progress: Progress,
        pause: Callable[[float], object],
    ) -> None:
        self._file = file
        self._target = target
        self._read = read
        self._readers = readers
        self._progress = progress
        self._pause = pause
        self._is_stopped = False
        self.read_bytes = 0

    def stop(self) -> None:
        self._is_stopped = True

    def run(self) -> FileMark:
        size_bytes = self._file.size_bytes
        self._target.parent.mkdir(parents=True, exist_ok=True)
        if _length_of(self._target) > size_bytes:
            self._target.unlink()
        digests = self._digests()
        position = self._hash_what_is_here(digests)
        with self._target.open("ab") as out:
            for piece in self._pieces(position):
                out.write(piece)
                self.read_bytes += len(piece)
                self._progress.advance(len(piece))
                for digest in digests.values():
                    digest.update(piece)
            out.flush()
            os.fsync(out.fileno())
        self._check(digests)
        return FileMark(size_bytes, digests["sha256"].hexdigest())

    def _digests(self) -> "dict[str, hashlib._Hash]":
        # The receipt's, and the store's.
        names = {"sha256"} | ({self._file.checksum[0]} if self._file.checksum else set())
        return {name: hashlib.new(name, usedforsecurity=False) for name in names}

    def _hash_what_is_here(self, digests: "dict[str, hashlib._Hash]") -> int:
        position = 0
        if self._target.is_file():
            with self._target.open("rb") as here:
                while piece := here.read(PIECE_BYTES):
                    position += len(piece)
                    for digest in digests.values():
                        digest.update(piece)
            self._progress.advance(position)
        return position

    def _pieces(self, position: int) -> Iterator[bytes]:
        """Yield the pieces from ``position`` in order, the next ones read ahead."""
        size_bytes = self._file.size_bytes
        ahead: deque[Future[bytes]] = deque()
        while ahead or position < size_bytes:
            while position < size_bytes and len(ahead) < _PIECES_AHEAD:
                end = min(position + PIECE_BYTES, size_bytes)
                ahead.append(self._readers.submit(self._read_piece, position, end))
                position = end
            yield ahead.popleft().result()

    def _read_piece(self, start: int, end: int) -> bytes:
        for attempt in range(_ATTEMPTS):
            if self._is_stopped:
                raise ModelSourceError(f"source: {self._file.name}: another file failed")
            try:
                return self._read_whole(start, end)
            except ModelSourceError:
                raise
            except Exception as error:
                # Each store's client raises errors of its own, without a common base.
                if attempt == _ATTEMPTS - 1:
                    raise ModelSourceError(
                        f"source: {self._file.name} could not be read from byte {start:,}, in "
                        f"{_ATTEMPTS} attempts: {describe_error(error)}; what has come is "
                        "kept, and the next pull goes on there"
                    ) from error
                log.info(
                    "%s from byte %s: %s; trying again",
                    self._file.name,
                    start,
                    describe_error(error),
                    extra={
                        "event": "weights_pulled_again",
                        "file": self._file.name,
                        "from_bytes": start,
                    },
                )
                self._pause(_FIRST_PAUSE_S * 2**attempt)
        raise AssertionError("the last attempt returns or raises. This is a bug.")

    def _read_whole(self, start: int, end: int) -> bytes:
        piece = self._read(self._file.name, start, end)
        if len(piece) != end - start:
            raise OSError(f"{len(piece):,} of {end - start:,} bytes came")
        return piece

    def _check(self, digests: "dict[str, hashlib._Hash]") -> None:
        if _length_of(self._target) != self._file.size_bytes:
            self._target.unlink()
            raise ModelSourceError(
                f"source: {self._file.name} was written by another process, too: the cache's file "
                "system has no locks that hold; pull it again, from one process"
            )
        if self._file.checksum is None:
            return
        name, wanted = self._file.checksum
        if digests[name].hexdigest() != wanted:
            # It would be taken up again otherwise.
            self._target.unlink()
            raise ModelSourceError(
                f"source: {self._file.name} arrived with another {name} than the store gives: it "
                "was damaged on its way, or changed; pull it again"
            )


def inside(directory: Path, path: str) -> Path:
    """Return a path below ``directory``; ``ModelSourceError`` for one that leads out of it."""
    target = (directory / path).resolve()
    if not target.is_relative_to(directory.resolve()) or target == directory.resolve():
        raise ModelSourceError(f"source: has a file whose path leads out of it: '{path}'")
    return directory / path


def _length_of(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
