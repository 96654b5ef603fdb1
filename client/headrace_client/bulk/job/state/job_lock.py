"""The lock beside OUT: one process at a time runs a job."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace_client.errors import ClientError


class JobLockedError(ClientError):
    """Another process runs this job."""


class JobLock:
    """Holds a file lock as a context manager; it ends with the process, however that ends.

    Entering raises ``JobLockedError``, which names the process, if another one holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise JobLockedError(
                f"{self._path.parent}: another process ({holder or 'unknown'}) runs this job; wait "
                "for it, stop it with Ctrl-C, or name another OUT"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
