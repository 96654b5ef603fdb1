"""Changes of the local file system, in one place: what must be durable goes through here."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_client.bulk.output.layout import MIB

_COPY_BYTES = 16 * MIB
_READ_BYTES = MIB
_CANNOT_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
_CANNOT_LINK = _CANNOT_COPY | {errno.EMLINK, errno.EACCES}


def as_bytes(array: NDArray[Any]) -> memoryview:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


class FileSink:
    """A file that is being written. ``size`` is where ``write`` goes on."""

    def __init__(self, path: Path, *, truncate: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if truncate else 0)
        self.path = path
        self._descriptor = os.open(path, flags, 0o666)
        self.size = os.fstat(self._descriptor).st_size

    def write(self, data: bytes | memoryview) -> None:
        self.write_at(self.size, data)
        self.size += memoryview(data).nbytes

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            left, offset = left[written:], offset + written

    def copy(self, source: Path, offset: int = 0) -> None:
        """Append the bytes of another file, from ``offset`` to its end."""
        with source.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            while offset < end:
                copied = self._copy_piece(file.fileno(), offset, min(_COPY_BYTES, end - offset))
                if copied == 0:
                    raise OSError(errno.EIO, "the file became shorter while it was copied", source)
                offset, self.size = offset + copied, self.size + copied

    def _copy_piece(self, source: int, offset: int, count: int) -> int:
        try:
            return os.copy_file_range(source, self._descriptor, count, offset, self.size)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
        data = os.pread(source, min(count, _READ_BYTES), offset)
        self.write_at(self.size, data)
        return len(data)

    def read_into(self, offset: int, buffers: Sequence[memoryview]) -> int:
        return os.preadv(self._descriptor, buffers, offset)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self.size = size

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class Files:
    """The local file system."""

    def create(self, path: Path) -> FileSink:
        return FileSink(path, truncate=True)

    def open(self, path: Path) -> FileSink:
        """Open for writing at any place; made where it is not there."""
        return FileSink(path, truncate=False)

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[FileSink]:
        """A new file, which is durable after the block; its name is the caller's concern."""
        sink = self.create(path)
        try:
            yield sink
            sink.sync()
        finally:
            sink.close()

    def write_whole(self, path: Path, content: bytes) -> None:
        """Make this the content of a file: durably, and whole or not at all."""
        temporary = path.with_name(path.name + ".tmp")
        with self.writing(temporary) as sink:
            sink.write(content)
        self.replace(temporary, path)
        self.sync_directory(path.parent)

    def make_directory(self, path: Path) -> None:
        """With its parents; durable itself, as far as it had to be made."""
        missing = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for each in missing:
            self.sync_directory(each.parent)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, over what is there; a directory only over none or an empty one."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """The same file under another name; a durable copy where the disk has no links."""
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            with self.writing(target) as sink:
                sink.copy(source)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def remove_any(self, path: Path) -> None:
        """A file, a directory with all in it, or nothing."""
        if path.is_dir():
            self.remove_tree(path)
        elif path.exists():
            self.remove(path)

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_tree(self, path: Path) -> None:
        """Files and directories below, which somebody else wrote."""
        for folder, _, names in os.walk(path):
            for name in names:
                descriptor = os.open(Path(folder) / name, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            self.sync_directory(Path(folder))

    def free_bytes(self, path: Path) -> int:
        return shutil.disk_usage(path).free


LOCAL_FILES = Files()
