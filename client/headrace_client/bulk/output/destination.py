"""Where OUT and its state are."""

from dataclasses import dataclass
from pathlib import Path

import fsspec

from headrace_client.bulk.output.errors import OutputUsageError

_LOCAL_SCHEMES = ("file://", "local://")
_STATE_SUFFIX = ".headrace"


@dataclass(frozen=True, slots=True)
class Destination:
    """OUT, local or remote, with its failed file and its state directory.

    ``OUT/`` (a slash at the end) is a directory that gets the parts as they are.

    Attributes:
        out: A path, or fsspec's URL; without the slash.
        state_directory: ``OUT.headrace``, unless another was named.
    """

    out: str
    state_directory: Path
    is_remote: bool
    is_directory: bool

    @classmethod
    def of(cls, out: str, state_directory: Path | None = None) -> "Destination":
        """The destination of the argument OUT.

        Raises:
            OutputUsageError: a remote OUT without a state directory, or no place for files.
        """
        for scheme in _LOCAL_SCHEMES:
            out = out.removeprefix(scheme)
        bare = out.rstrip("/")
        if bare in {"", "-"}:
            raise OutputUsageError(
                f"OUT {out!r} is no place for a file: name one, such as vectors.parquet"
            )
        is_remote = "://" in out
        if state_directory is None:
            if is_remote:
                raise OutputUsageError(
                    f"OUT {out!r} is remote, and what makes a job resumable is kept on a local "
                    "disk: say where with --state-dir"
                )
            state_directory = Path(bare + _STATE_SUFFIX)
        return cls(bare, state_directory, is_remote, out.endswith("/"))

    @property
    def failed(self) -> str:
        """Path or URL of the failed file."""
        return self.out + ".failed.jsonl"

    def exists(self) -> bool:
        """OUT is there. A remote store is asked."""
        if not self.is_remote:
            return Path(self.out).exists()
        system, path = fsspec.core.url_to_fs(self.out)
        return bool(system.exists(path))

    def failed_exists(self) -> bool:
        if not self.is_remote:
            return Path(self.failed).exists()
        system, path = fsspec.core.url_to_fs(self.failed)
        return bool(system.exists(path))

    def near(self, name: str, kind: str) -> Path:
        """A hidden file beside OUT, on the same file system; of a remote OUT, with its state."""
        if self.is_remote:
            return self.state_directory / f"{name}.{kind}"
        path = Path(self.out)
        return path.with_name(f".{path.name}.{name}.headrace-{kind}")
