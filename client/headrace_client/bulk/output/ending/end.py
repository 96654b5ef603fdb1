"""Ends a job: builds what is new, decides by a journal, puts it in place."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec

from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.ending.building import Builder
from headrace_client.bulk.output.ending.journal import NAME, Action, Finished, Journal, Step
from headrace_client.bulk.output.ending.merging import appended, merged_blocks, plan
from headrace_client.bulk.output.ending.publishing import run_step
from headrace_client.bulk.output.errors import (
    ModelChangedError,
    OutputError,
    OutputUsageError,
    full_disk_explained,
    in_bytes,
)
from headrace_client.bulk.output.failed import failed_lines, merged_lines, read_failed
from headrace_client.bulk.output.files import LOCAL_FILES, Files
from headrace_client.bulk.output.formats import FileFormat, file_format
from headrace_client.bulk.output.formats.file_format import Block, BlockReader
from headrace_client.bulk.output.formats.lance import Lance
from headrace_client.bulk.output.layout import Layout, OutFormat
from headrace_client.bulk.output.parts import DIRECTORY, FAILED_SUFFIX, Part
from headrace_client.bulk.output.stores import FILE_NAMES

_LANCE_ENTRY = "_versions"


class Ending:
    """Ends a job.

    The caller's order:

    1. At start, ``clean()`` if the state says that the job ended. Otherwise ``resume()``: it
       completes an end that was interrupted. If it returns what was finished, OUT is whole: go on
       with 3.
    2. After the last ``finish_part``: ``finish(parts)``, or ``merge(parts)`` where the failed rows
       of an ended job were tried again.
    3. Note in the state, durably, that the job ended; then ``clean()``.

    A crash leaves the old OUT (or none) or the new one; ``resume`` or the same call goes on.
    """

    def __init__(
        self, layout: Layout, destination: Destination, *, files: Files = LOCAL_FILES
    ) -> None:
        self._layout = layout
        self._destination = destination
        self._files = files
        self._state = destination.state_directory
        self._parts = self._state / DIRECTORY
        self._format = file_format(layout)
        self._is_tree = destination.is_directory or layout.format is OutFormat.LANCE
        self._new_out = destination.near("out", "tmp")
        self._new_failed = destination.near("failed", "tmp")
        self._fetched_out = self._state / "out.fetched"
        self._fetched_failed = self._state / "failed.fetched"

    def check(self) -> None:
        """Refuse an OUT that cannot be replaced: before a job starts, not when it ends.

        Raises:
            OutputUsageError: OUT is a directory and should be a file, or the other way round, or
                holds files that are not a job's.
        """
        out = Path(self._destination.out)
        if self._destination.is_remote or not out.exists():
            return
        if not self._is_tree:
            if out.is_dir():
                raise OutputUsageError(
                    f"{out} is a directory: for files in it let OUT end in a slash ({out}/), or "
                    "name a file"
                )
            return
        if not out.is_dir():
            raise OutputUsageError(f"{out} is a file, and OUT is to be a directory: name another")
        strange = [each.name for each in out.iterdir() if not self._is_ours(each)]
        if strange:
            raise OutputUsageError(
                f"{out} holds {min(strange)!r}, which no bulk job wrote, and the end of the job "
                "replaces the whole directory: name one that is empty or not there"
            )

    def resume(self) -> Finished | None:
        """Complete an end that was interrupted.

        Returns:
            What was finished, if the end was decided; ``None`` if rows are still to be written.
        """
        journal = Journal.read(self._state)
        if journal is None:
            self._discard()
            return None
        for step in journal.steps:
            run_step(step, self._files)
        return journal.finished

    def finish(self, parts: Sequence[Part]) -> Finished:
        """Make OUT and the failed file of all parts.

        Raises:
            DiskFullError: it says how much is needed.
            OutputError: OUT cannot be written.
        """
        finished = self.resume()
        if finished is not None:
            return finished
        self.check()
        paths = [self._rows_of(part) for part in parts if part.size_bytes]
        needed = sum(part.size_bytes + part.failed_bytes for part in parts)
        with full_disk_explained(lambda: self._explain_full(needed)):
            self._make_directories()
            self._builder().join(self._format, paths, _dimensions(parts))
            failed_rows = self._write_failed(self._failed_of(parts))
        return self._decide(sum(part.rows for part in parts), failed_rows)

    def merge(self, parts: Sequence[Part]) -> Finished:
        """Put rows that were tried again at their places in OUT, and rewrite the failed file.

        Args:
            parts: Of a ``PartWriter`` that was given rows of the failed file only, under their
                row numbers, in their order where OUT is in order.

        Raises:
            DiskFullError: it says how much is needed.
            ModelChangedError: the new vectors are of another length than those of OUT.
            OutputError: OUT or the failed file is not there, or cannot be written.
        """
        finished = self.resume()
        if finished is not None:
            return finished
        out, failed = self._fetch()
        dimensions = self._length_of_all(self._dimensions_in(out), _dimensions(parts))
        counted = _Counted(self._format)
        needed = _size(out) + sum(part.size_bytes + part.failed_bytes for part in parts)
        with full_disk_explained(lambda: self._explain_full(needed)):
            blocks = counted.each(self._merged(out, failed, parts, dimensions))
            self._builder().write(self._format, blocks, dimensions)
            failed_rows = self._write_failed(self._still_failed(failed, parts))
        return self._decide(counted.rows, failed_rows)

    def out_dimensions(self) -> int | None:
        """The length of the vectors in OUT, before failed rows are tried again."""
        out, _ = self._fetch()
        return self._dimensions_in(out)

    def failed_file(self) -> Path:
        """The failed file, local: fetched first where OUT is remote. See ``read_failed``."""
        return self._fetch()[1]

    def clean(self) -> None:
        """Remove parts, stores and the journal; manifest and checkpoint are the caller's."""
        self._discard()
        self._files.remove_tree(self._parts)
        for name in FILE_NAMES:
            self._files.remove(self._state / name)
        for path in (self._fetched_out, self._fetched_failed):
            self._remove(path)
        if self._state.exists():
            # Last, since an end is complete as long as it is there.
            self._files.remove(self._state / NAME)
            self._files.sync_directory(self._state)

    # What is built.

    def _builder(self) -> Builder:
        return Builder(
            self._layout,
            is_directory=self._destination.is_directory,
            target=self._new_out,
            files=self._files,
        )

    def _merged(
        self, out: Path, failed: Path, parts: Sequence[Part], dimensions: int | None
    ) -> Iterator[Block]:
        mended = self._format.reader(
            [self._rows_of(part) for part in parts if part.size_bytes], dimensions
        )
        if not self._layout.ordered:
            return merged_blocks(appended(), self._reader_of(out, dimensions), mended)
        steps = plan(
            (row.row for row in read_failed(failed)) if failed.exists() else iter(()),
            (row.row for path in self._failed_of(parts) for row in read_failed(path)),
            max((part.end_row for part in parts), default=0),
            keeps_failed=self._format.keeps_failed,
        )
        return merged_blocks(steps, self._reader_of(out, dimensions), mended)

    def _still_failed(self, failed: Path, parts: Sequence[Part]) -> Iterator[bytes]:
        yield from self._failed_of_all(self._failed_of(parts))
        if not self._layout.ordered:
            return
        end_row = max((part.end_row for part in parts), default=0)
        for line, row in failed_lines(failed) if failed.exists() else ():
            if row.row >= end_row:
                yield line

    def _failed_of_all(self, paths: Sequence[Path]) -> Iterator[bytes]:
        if not self._layout.ordered:
            yield from merged_lines(paths)
            return
        for path in paths:
            with path.open("rb") as file:
                yield from file

    def _write_failed(self, source: Sequence[Path] | Iterator[bytes]) -> int:
        """Write the new failed file; its rows, 0 where there is none."""
        lines = self._failed_of_all(source) if isinstance(source, Sequence) else source
        first = next(lines, None)
        if first is None:
            self._files.remove(self._new_failed)
            return 0
        count = 1
        sink = self._files.create(self._new_failed)
        try:
            sink.write(first)
            for line in lines:
                sink.write(line)
                count += 1
            sink.sync()
        finally:
            sink.close()
        return count

    # How it is put in place.

    def _decide(self, rows: int, failed_rows: int) -> Finished:
        finished = Finished(rows, failed_rows, _size(self._new_out))
        journal = Journal(tuple(self._steps(failed_rows)), finished)
        if not self._destination.is_remote:
            self._files.sync_directory(self._new_out.parent)
        with full_disk_explained(lambda: self._explain_full(0)):
            journal.write(self._state, self._files)
        for step in journal.steps:
            run_step(step, self._files)
        return finished

    def _steps(self, failed_rows: int) -> Iterator[Step]:
        remote = self._destination.is_remote
        file_action = Action.UPLOAD if remote else Action.REPLACE
        tree_action = Action.UPLOAD_TREE if remote else Action.SWAP
        out_action = tree_action if self._is_tree else file_action
        yield Step(out_action, str(self._new_out), self._destination.out)
        if failed_rows:
            yield Step(file_action, str(self._new_failed), self._destination.failed)
        else:
            yield Step(Action.REMOVE, "", self._destination.failed)

    def _discard(self) -> None:
        """What an end that was not decided has built."""
        self._remove(self._new_out)
        self._remove(self._new_failed)

    def _remove(self, path: Path) -> None:
        if path.is_dir():
            self._files.remove_tree(path)
        elif path.exists():
            self._files.remove(path)

    def _make_directories(self) -> None:
        self._files.make_directory(self._state)
        self._files.make_directory(self._new_out.parent)

    # What is there.

    def _rows_of(self, part: Part) -> Path:
        return self._parts / (part.name + self._format.suffix)

    def _failed_of(self, parts: Sequence[Part]) -> list[Path]:
        return [self._parts / (part.name + FAILED_SUFFIX) for part in parts if part.failed_bytes]

    def _fetch(self) -> tuple[Path, Path]:
        """OUT and its failed file, on a local disk."""
        if not self._destination.exists():
            raise OutputError(
                f"{self._destination.out} is needed to put rows into it, and is not there: bring "
                "it back, or run the job anew"
            )
        if not self._destination.is_remote:
            return Path(self._destination.out), Path(self._destination.failed)
        if not self._fetched_out.exists():
            self._make_directories()
            # OUT last: it says that both were fetched.
            pairs = [(self._destination.out, self._fetched_out)]
            if self._destination.failed_exists():
                pairs.insert(0, (self._destination.failed, self._fetched_failed))
            for url, path in pairs:
                system, remote = fsspec.core.url_to_fs(url)
                system.get(remote, str(path), recursive=system.isdir(remote))
        return self._fetched_out, self._fetched_failed

    def _dimensions_in(self, out: Path) -> int | None:
        if isinstance(self._format, Lance):
            return self._format.dataset_dimensions(out)
        found = (self._format.dimensions(path) for path in self._files_of(out))
        return next((each for each in found if each), None)

    def _reader_of(self, out: Path, dimensions: int | None) -> BlockReader:
        if isinstance(self._format, Lance):
            return self._format.dataset_reader(out, dimensions)
        return self._format.reader(self._files_of(out), dimensions)

    def _files_of(self, out: Path) -> list[Path]:
        return sorted(out.glob(f"part-*{self._format.suffix}")) if out.is_dir() else [out]

    def _length_of_all(self, of_out: int | None, of_parts: int | None) -> int | None:
        if of_out and of_parts and of_out != of_parts:
            raise ModelChangedError(
                f"the rows that were tried again have vectors of {of_parts:,} components, and "
                f"those in {self._destination.out} have {of_out:,}: the model was changed since. "
                "Bring the former model back, or run the whole job anew"
            )
        return of_out or of_parts

    def _is_ours(self, entry: Path) -> bool:
        if self._layout.format is OutFormat.LANCE:
            return (entry.parent / _LANCE_ENTRY).is_dir()
        return entry.name.startswith("part-") and entry.suffix == self._format.suffix

    def _explain_full(self, needed: int) -> str:
        self._discard()
        folder = self._new_out.parent
        return (
            f"no room to write {self._destination.out} beside its parts: {in_bytes(needed)} are "
            f"needed on the disk of {folder}, and {in_bytes(self._files.free_bytes(folder))} are "
            "free. All rows are written and nothing is lost: make room and run the same command "
            "again, it only has to put the parts together"
        )


class _Counted:
    """Blocks, and how many rows went by."""

    def __init__(self, file_format: FileFormat) -> None:
        self._format = file_format
        self.rows = 0

    def each(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            self.rows += self._format.block_rows(block)
            yield block


def _dimensions(parts: Sequence[Part]) -> int | None:
    return next((part.dimensions for part in reversed(parts) if part.dimensions), None)


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size
