"""Where OUT and its state are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Destination:
    """OUT, local or remote, with its failed file and its state directory.

    ``OUT/`` (a slash at the end) is a directory that gets the parts as they are.
    """

    out: str
    state_directory: Path
    is_remote: bool
    is_directory: bool

    @classmethod
    def of(cls, out: str, state_directory: Path | None = None) -> "Destination":
        """Raises ``OutputUsageError`` where a remote OUT comes without a state directory."""
        raise NotImplementedError

    @property
    def failed(self) -> str:
        """``OUT.failed.jsonl``."""
        raise NotImplementedError

    def exists(self) -> bool:
        raise NotImplementedError
