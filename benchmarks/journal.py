"""A record of what was computed, by a process that may be killed at any moment.

Each line is one system call on a file opened for appending, so what was written before a kill is
there after it.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

BEGUN = b"B"
ENDED = b"E"


class JournalWriter:
    """Writes beginnings and ends of computations, by the numbers of their records.

    Args:
        path: The file; appended to.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def begin(self, number: int) -> None:
        os.write(self._descriptor, b"%b%d\n" % (BEGUN, number))

    def end(self, number: int) -> None:
        os.write(self._descriptor, b"%b%d\n" % (ENDED, number))


@dataclass(slots=True)
class Computations:
    """What one process has computed.

    Attributes:
        begun: The record of each computation that began, in order, repeats included.
        ended: Likewise, of those that ended.
    """

    begun: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)

    @property
    def in_course(self) -> frozenset[int]:
        """Records whose computation began and did not end."""
        return frozenset(self.begun) - frozenset(self.ended)

    def add(self, lines: Iterable[bytes]) -> None:
        """Add complete lines of a journal."""
        for line in lines:
            (self.begun if line.startswith(BEGUN) else self.ended).append(int(line[1:]))


class JournalReader:
    """Follows a journal that is still being written, as a context manager.

    Args:
        path: The file; created if missing.
    """

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb")
        self._rest = b""
        self.computations = Computations()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def follow(self) -> int:
        """Read what was written since, and return how many computations have ended by now."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        self.computations.add(lines)
        return len(self.computations.ended)
