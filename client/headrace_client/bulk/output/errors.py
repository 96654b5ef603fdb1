"""What can go wrong with OUT; each message says what to do next."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headrace_client.errors import ClientError


class OutputError(ClientError):
    """OUT cannot be written; nothing that is durable is lost."""


class OutputUsageError(OutputError):
    """The arguments ask for an OUT that cannot be; the message names the argument."""


class PartsBrokenError(OutputError):
    """A part that the checkpoint names is missing or damaged."""


class DiskFullError(OutputError):
    """A disk has no room; the same command goes on once there is some."""


class ModelChangedError(OutputError):
    """Vectors of this job differ in length: the model was changed while the job ran."""


class AnswerUnreadableError(OutputError):
    """A response body that is not what its endpoint answers; the request's rows fail."""


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def full_disk_explained(explain: Callable[[], str]) -> Iterator[None]:
    """Raise ``DiskFullError`` with that message where the block finds no room on a disk."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFullError(explain()) from error
        raise


def in_bytes(count: int) -> str:
    """A size for people: ``3.2 GiB``."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
