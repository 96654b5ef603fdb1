"""OUT and its failed file as an earlier run left them."""

from collections.abc import Iterator
from pathlib import Path

import fsspec

from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.errors import OutputError
from headrace_client.bulk.output.failed import FailedRow, failed_lines
from headrace_client.bulk.output.files import Files
from headrace_client.bulk.output.formats import FileFormat
from headrace_client.bulk.output.formats.file_format import BlockReader
from headrace_client.bulk.output.formats.lance import Lance


class FormerOut:
    """The OUT that is there; a remote one is brought to the state directory by ``fetch``.

    Attributes:
        out: A local file or directory.
        failed: A local file, which is not there if no row failed.
    """

    def __init__(self, file_format: FileFormat, destination: Destination, files: Files) -> None:
        self._format = file_format
        self._destination = destination
        self._files = files
        state = destination.state_directory
        is_remote = destination.is_remote
        self.out = state / "out.fetched" if is_remote else Path(destination.out)
        self.failed = state / "failed.fetched" if is_remote else Path(destination.failed)

    def fetch(self) -> None:
        """Raises ``OutputError`` where there is no OUT."""
        destination = self._destination
        if destination.is_remote and self.out.exists():
            return
        if not destination.exists():
            raise OutputError(
                f"{destination.out} is not there, and more rows are to be put into it: bring it "
                "back, or run the job anew"
            )
        if destination.is_remote:
            self._files.make_directory(self.out.parent)
            # OUT last: where it is, both are whole.
            if destination.failed_exists():
                self._download(destination.failed, self.failed)
            self._download(destination.out, self.out)

    def clean(self) -> None:
        """Remove what was fetched."""
        if self._destination.is_remote:
            self._files.remove_any(self.out)
            self._files.remove_any(self.failed)

    def dimensions(self) -> int | None:
        """The length of the vectors in OUT; ``None`` where it has none."""
        if isinstance(self._format, Lance):
            return self._format.dataset_dimensions(self.out)
        found = (self._format.dimensions(path) for path in self._paths())
        return next((each for each in found if each), None)

    def reader(self, dimensions: int | None) -> BlockReader:
        if isinstance(self._format, Lance):
            return self._format.dataset_reader(self.out, dimensions)
        return self._format.reader(self._paths(), dimensions)

    def failed_lines(self) -> Iterator[tuple[bytes, FailedRow]]:
        return failed_lines(self.failed) if self.failed.exists() else iter(())

    def _paths(self) -> list[Path]:
        if self.out.is_dir():
            return sorted(self.out.glob(f"part-*{self._format.suffix}"))
        return [self.out]

    def _download(self, url: str, path: Path) -> None:
        temporary = path.with_name(path.name + ".tmp")
        self._files.remove_any(temporary)
        system, remote = fsspec.core.url_to_fs(url)
        system.get(remote, str(temporary), recursive=system.isdir(remote))
        self._files.replace(temporary, path)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a directory."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size
