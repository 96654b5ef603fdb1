"""Ends a job: builds what is new, decides by a journal, puts it in place."""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.ending.building import Builder
from headrace_client.bulk.output.ending.former import FormerOut, size_of
from headrace_client.bulk.output.ending.journal import NAME, Action, Finished, Journal, Step
from headrace_client.bulk.output.ending.merging import appended, merged_blocks, plan, tried_rows
from headrace_client.bulk.output.ending.publishing import names_in, run_step, strangers
from headrace_client.bulk.output.errors import (
    ModelChangedError,
    OutputError,
    OutputUsageError,
    full_disk_explained,
    in_bytes,
)
from headrace_client.bulk.output.failed import (
    merged_lines,
    read_failed,
)
from headrace_client.bulk.output.files import LOCAL_FILES, Files
from headrace_client.bulk.output.formats import FileFormat, file_format
from headrace_client.bulk.output.formats.file_format import Block
from headrace_client.bulk.output.layout import Layout, OutFormat
from headrace_client.bulk.output.parts import DIRECTORY, FAILED_SUFFIX, Part
from headrace_client.bulk.output.stores import FILE_NAMES


class Ending:
    """Ends a job.

    The caller's order:

    1. At start, ``clean()`` if the state says that the job ended. Otherwise ``resume()``: it
       completes an end that was interrupted. If it returns what was finished, OUT is whole: go on
       with 3.
    2. After the last ``finish_part``: ``finish(parts)``, or ``merge(parts)`` in a later run of an
       ended job: failed rows that were tried again, rows by which the input has grown.
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
        self._former = FormerOut(self._format, destination, files)

    def check(self) -> None:
        """Refuse an OUT that cannot be replaced: before a job starts, not when it ends.

        Raises:
            OutputUsageError: OUT is a directory and should be a file, or the other way round, or
                holds files that are not a job's.
        """
        out = Path(self._destination.out)
        is_remote = self._destination.is_remote
        if Journal.read(self._state) is not None:
            return  # the end is decided, and may be half done
        if not is_remote and out.exists() and out.is_dir() != self._is_tree:
            raise OutputUsageError(
                f"{out} is a file, and OUT is to be a directory: name another"
                if self._is_tree
                else f"{out} is a directory: for files in it let OUT end in a slash ({out}/), or "
                "name a file"
            )
        if not self._is_tree:
            return
        if is_remote:
            names = names_in(self._destination.out)
        else:
            names = [each.name for each in out.iterdir()] if out.exists() else []
        is_lance = self._layout.format is OutFormat.LANCE
        strange = strangers(names, self._format.suffix, is_lance=is_lance)
        if strange:
            raise OutputUsageError(
                f"{self._destination.out} holds {strange[0]!r}, which no bulk job wrote, and the "
                "end of the job replaces the whole directory: name one that is empty or not there"
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
        """Put rows of a later run into OUT, and rewrite the failed file.

        Args:
            parts: Of a ``PartWriter`` that was given rows of the failed file, under their row
                numbers (all of them, or those up to some row), or rows by which the input has
                grown, or first the ones and then the others. In order, where OUT is in order.

        Raises:
            DiskFullError: it says how much is needed.
            ModelChangedError: the new vectors are of another length than those of OUT.
            OutputError: OUT is not there or does not fit its failed file, or cannot be written.
        """
        finished = self.resume()
        if finished is not None:
            return finished
        former = self._former
        former.fetch()
        dimensions = self._length_of_all(former.dimensions(), _dimensions(parts))
        counted = _Counted(self._format)
        needed = size_of(former.out) + sum(part.size_bytes + part.failed_bytes for part in parts)
        with full_disk_explained(lambda: self._explain_full(needed)):
            blocks = counted.each(self._merged(parts, dimensions))
            self._builder().write(self._format, blocks, dimensions)
            failed_rows = self._write_failed(self._still_failed(parts))
        self._check_fit(parts, counted.rows)
        return self._decide(counted.rows, failed_rows)

    def out_dimensions(self) -> int | None:
        """The length of the vectors in OUT, before a later run."""
        self._former.fetch()
        return self._former.dimensions()

    def failed_file(self) -> Path:
        """The failed file, local: fetched first where OUT is remote. See ``read_failed``."""
        self._former.fetch()
        if not self._former.failed.exists():
            raise OutputError(
                f"{self._destination.failed} is not there, and says which rows failed: bring it "
                "back, or run the job anew"
            )
        return self._former.failed

    def clean(self) -> None:
        """Remove parts, stores and the journal; manifest and checkpoint are the caller's."""
        self._discard()
        self._files.remove_tree(self._parts)
        for name in FILE_NAMES:
            self._files.remove(self._state / name)
        self._former.clean()
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

    def _merged(self, parts: Sequence[Part], dimensions: int | None) -> Iterator[Block]:
        mended = self._format.parts.reader(
            [self._rows_of(part) for part in parts if part.size_bytes], dimensions
        )
        if not self._layout.ordered:
            return merged_blocks(appended(), self._former.reader(dimensions), mended)
        steps = plan(
            (row.row for _, row in self._former.failed_lines()),
            (row.row for path in self._failed_of(parts) for row in read_failed(path)),
            tried_rows(parts),
            keeps_failed=self._format.keeps_failed,
        )
        return merged_blocks(steps, self._former.reader(dimensions), mended)

    def _still_failed(self, parts: Sequence[Part]) -> Iterator[bytes]:
        tried = tried_rows(parts)
        not_tried = (
            (row.row, line) for line, row in self._former.failed_lines() if row.row not in tried
        )
        again = (
            (orjson.loads(line)["row"], line)
            for line in self._failed_of_all(self._failed_of(parts))
        )
        for _, line in heapq.merge(not_tried, again):
            yield line

    def _check_fit(self, parts: Sequence[Part], rows: int) -> None:
        """Rows that were no failed ones came after those of OUT: else the failed file is not its.

        That is known only now, and nothing has been put in place.
        """
        tried = tried_rows(parts)
        if not self._layout.ordered or not tried:
            return
        not_tried = 0
        for _, row in self._former.failed_lines():
            if row.row in tried:
                return
            not_tried += 1
        before = rows - sum(part.rows for part in parts)
        if before + (0 if self._format.keeps_failed else not_tried) > tried.start:
            self._discard()
            raise OutputError(
                f"row {tried.start:,} was tried again, and {self._destination.failed} does not "
                "name it: bring back the failed file that belongs to OUT, or run the job anew"
            )

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
        with self._files.writing(self._new_failed) as sink:
            sink.write(first)
            for line in lines:
                sink.write(line)
                count += 1
        return count

    # How it is put in place.

    def _decide(self, rows: int, failed_rows: int) -> Finished:
        finished = Finished(rows, failed_rows, size_of(self._new_out))
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
        self._files.remove_any(self._new_out)
        self._files.remove_any(self._new_failed)

    def _make_directories(self) -> None:
        self._files.make_directory(self._state)
        self._files.make_directory(self._new_out.parent)

    # What is there.

    def _rows_of(self, part: Part) -> Path:
        return self._parts / (part.name + self._format.parts.suffix)

    def _failed_of(self, parts: Sequence[Part]) -> list[Path]:
        return [self._parts / (part.name + FAILED_SUFFIX) for part in parts if part.failed_bytes]

    def _length_of_all(self, of_out: int | None, of_parts: int | None) -> int | None:
        if of_out and of_parts and of_out != of_parts:
            raise ModelChangedError(
                f"the rows that were tried again have vectors of {of_parts:,} components, and "
                f"those in {self._destination.out} have {of_out:,}: the model was changed since. "
                "Bring the former model back, or run the whole job anew"
            )
        return of_out or of_parts

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
