"""A file that says whether the service is well, for a container's health check."""

from collections.abc import Sequence
from pathlib import Path


class HealthFile:
    """Keeps what is wrong in a file, one line each; empty if all is well.

    Whoever looks takes its age too: what no longer runs writes nothing. A look costs no Python and
    no Ray, as `headrace health` does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = path.with_name(path.name + ".new")

    def write(self, complaints: Sequence[str]) -> None:
        """Write the file anew, at once: nobody sees half of it. Raises ``OSError``."""
        self._written.write_text("".join(f"{line}\n" for line in complaints), encoding="utf-8")
        self._written.replace(self._path)
