"""Mended rows at their places among the rows of OUT, in one pass over both."""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum

from headrace_client.bulk.output.formats.file_format import ALL_ROWS, Block, BlockReader
from headrace_client.bulk.output.parts import Part


class Source(Enum):
    OUT = "out"
    MENDED = "mended"
    NOWHERE = "nowhere"
    """Rows of OUT that are left out."""


def plan(
    failed: Iterable[int], still_failed: Iterable[int], tried: range, *, keeps_failed: bool
) -> Iterator[tuple[Source, int]]:
    """Where the next rows of the new OUT come from, and how many.

    The rows of OUT are all rows but the failed ones; with ``keeps_failed`` (.npy) also these.
    Rows that OUT has not had follow in the end.

    Args:
        failed: The failed rows of OUT, ascending.
        still_failed: Those that failed again, ascending.
        tried: Failed rows out of this range were not tried again.
        keeps_failed: OUT and the mended rows have failed rows at their places.
    """
    failing = iter(still_failed)
    next_failing = next(failing, None)
    next_row = 0
    for row in failed:
        yield Source.OUT, row - next_row
        next_row = row + 1
        if row not in tried:
            if keeps_failed:
                yield Source.OUT, 1
        elif keeps_failed:
            yield Source.NOWHERE, 1
            yield Source.MENDED, 1
        elif row == next_failing:
            next_failing = next(failing, None)
        else:
            yield Source.MENDED, 1
    yield Source.OUT, ALL_ROWS
    yield Source.MENDED, ALL_ROWS


def tried_rows(parts: Sequence[Part]) -> range:
    """From the first to the last row that the parts are about."""
    if not parts:
        return range(0)
    return range(min(part.first_row for part in parts), max(part.end_row for part in parts))


def appended() -> Iterator[tuple[Source, int]]:
    """Of an OUT that is in no order, mended rows are the last."""
    yield Source.OUT, ALL_ROWS
    yield Source.MENDED, ALL_ROWS


def merged_blocks(
    steps: Iterable[tuple[Source, int]], out: BlockReader, mended: BlockReader
) -> Iterator[Block]:
    """The blocks of the new OUT."""
    for source, rows in _joined(steps):
        match source:
            case Source.OUT:
                yield from out.take(rows)
            case Source.MENDED:
                yield from mended.take(rows)
            case Source.NOWHERE:
                for _ in out.take(rows):
                    pass


def _joined(steps: Iterable[tuple[Source, int]]) -> Iterator[tuple[Source, int]]:
    """Neighbours of the same source as one."""
    current, total = Source.OUT, 0
    for source, rows in steps:
        if source is not current and rows:
            if total:
                yield current, total
            current, total = source, 0
        total += rows
    if total:
        yield current, total
