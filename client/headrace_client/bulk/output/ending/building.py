"""The new OUT under a temporary name: a file, a directory of parts, or a Lance dataset."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from headrace_client.bulk.output.files import Files
from headrace_client.bulk.output.formats import FileFormat
from headrace_client.bulk.output.formats.file_format import ALL_ROWS, Block
from headrace_client.bulk.output.formats.lance import Lance
from headrace_client.bulk.output.layout import Layout


class Builder:
    """Writes the new OUT at ``target``, durable when a method returns.

    What lies there from an interrupted end is written over.
    """

    def __init__(self, layout: Layout, *, is_directory: bool, target: Path, files: Files) -> None:
        self._layout = layout
        self._is_directory = is_directory
        self._target = target
        self._files = files

    def join(self, file_format: FileFormat, parts: Sequence[Path], dimensions: int | None) -> None:
        """The rows of the parts, one part after another."""
        self._files.remove_any(self._target)
        if isinstance(file_format, Lance):
            rows = file_format.parts.reader(parts, dimensions).take(ALL_ROWS)
            self._dataset(file_format, rows, dimensions)
        elif self._is_directory and parts:
            self._files.make_directory(self._target)
            for path in parts:
                target = self._target / (path.stem + file_format.suffix)
                self._joined(file_format, [path], target, dimensions)
            self._files.sync_directory(self._target)
        elif self._is_directory:
            self.write(file_format, iter(()), dimensions)
        else:
            self._joined(file_format, parts, self._target, dimensions)

    def _joined(
        self, file_format: FileFormat, parts: Sequence[Path], target: Path, dimensions: int | None
    ) -> None:
        if len(parts) == 1 and file_format.parts is file_format:
            self._files.link(parts[0], target)
            return
        with self._files.writing(target) as sink:
            file_format.join(parts, sink, dimensions)

    def write(
        self, file_format: FileFormat, blocks: Iterator[Block], dimensions: int | None
    ) -> None:
        """These blocks of rows."""
        self._files.remove_any(self._target)
        if isinstance(file_format, Lance):
            self._dataset(file_format, blocks, dimensions)
        elif self._is_directory:
            self._files.make_directory(self._target)
            number = 1
            while self._file(
                file_format, self._named(file_format, number), blocks, dimensions, self._layout
            ):
                number += 1
            self._files.sync_directory(self._target)
        else:
            self._file(file_format, self._target, blocks, dimensions, None)

    def _named(self, file_format: FileFormat, number: int) -> Path:
        return self._target / f"part-{number:06d}{file_format.suffix}"

    def _file(
        self,
        file_format: FileFormat,
        path: Path,
        blocks: Iterator[Block],
        dimensions: int | None,
        limits: Layout | None,
    ) -> bool:
        """A file of the next blocks, up to the size of a part; whether some may be left."""
        size_bytes = rows = 0
        with self._files.writing(path) as sink:
            writer = file_format.writer(sink, dimensions)
            for block in blocks:
                writer.write(block)
                size_bytes += file_format.block_bytes(block)
                rows += file_format.block_rows(block)
                if limits and (size_bytes >= limits.part_bytes or rows >= limits.part_rows):
                    break
            else:
                limits = None
            writer.finish()
        return limits is not None

    def _dataset(self, lance: Lance, blocks: Iterator[Block], dimensions: int | None) -> None:
        lance.write_dataset(blocks, self._target, dimensions)
        self._files.sync_tree(self._target)
