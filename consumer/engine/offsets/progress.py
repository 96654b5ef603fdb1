"""A partition's committed progress, and edits of it: skip a record, do some again, go elsewhere.

For people who move the offsets of a group that is empty. An edit keeps the completion map: what is
done and not named stays done, and is not done again.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Self

from consumer.engine.offsets import completion_map
from consumer.engine.offsets.completion_map import CompletionMap, RecordFailures
from consumer.engine.offsets.ledger import failures_room_bytes
from consumer.ports import OffsetAndMetadata


class EditError(ValueError):
    """The progress does not allow this edit; the message says why, and what does work."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is done of a partition's log: all offsets below ``frontier`` but for ``unfinished``.

    Offsets without a record count as done.

    Attributes:
        unfinished: Ascending; all below ``frontier - 1``.
        frontier: Nothing from here on is done.
        failures: Of unfinished records; ascending by offset.
        log_id: The id of the offsets' log; empty if unknown.
    """

    unfinished: tuple[int, ...]
    frontier: int
    failures: tuple[RecordFailures, ...] = ()
    log_id: bytes = b""

    @classmethod
    def of(cls, point: OffsetAndMetadata) -> Self:
        """Read a commit; raises ``CompletionMapError`` if its metadata is no map for its offset."""
        found = completion_map.decode(*point)
        if found is None:
            return cls((), point.offset)
        if found.highest_completed <= point.offset:
            return cls((), point.offset, found.failures, found.log_id)
        unfinished = (point.offset, *found.incomplete)
        return cls(unfinished, found.highest_completed + 1, found.failures, found.log_id)

    @property
    def committed(self) -> int:
        """The lowest unfinished offset."""
        return self.unfinished[0] if self.unfinished else self.frontier

    def is_done(self, offset: int) -> bool:
        if offset >= self.frontier:
            return False
        at = bisect_left(self.unfinished, offset)
        return at == len(self.unfinished) or self.unfinished[at] != offset

    def unfinished_in(self, start: int, end: int) -> int:
        """Return how many offsets from ``start`` on and below ``end`` are not done."""
        listed = bisect_left(self.unfinished, end) - bisect_left(self.unfinished, start)
        return max(0, listed) + max(0, end - max(start, self.frontier))

    def point(self) -> OffsetAndMetadata:
        """Return it as it is committed."""
        committed = self.committed
        if not self.unfinished and not self.failures and not self.log_id:
            return OffsetAndMetadata(committed, "")
        highest = self.frontier - 1 if self.unfinished else committed
        progress = CompletionMap(highest, self.unfinished[1:], self.failures, self.log_id)
        return OffsetAndMetadata(committed, completion_map.encode(committed, progress))

    def map_characters(self, limit_characters: int) -> int:
        """Return how long the metadata may become, with all failures that a consumer adds."""
        bare = replace(self, failures=()).point().metadata
        room_bytes = failures_room_bytes(limit_characters)
        return len(bare) + (room_bytes * 4 + 2) // 3 + 1

    def fits(self, limit_characters: int) -> bool:
        """Return whether brokers that take so many characters take this, whatever fails later."""
        return self.map_characters(limit_characters) <= limit_characters


def skip(progress: Progress, offset: int, limit_characters: int) -> Progress:
    """Return the progress with one more record done; ``EditError`` if it is, or does not fit."""
    if progress.is_done(offset):
        raise EditError(f"offset {offset} is done already")
    failures = tuple(each for each in progress.failures if each.offset != offset)
    if offset < progress.frontier:
        left = tuple(each for each in progress.unfinished if each != offset)
        return _trimmed(replace(progress, unfinished=left, failures=failures))
    between = range(progress.frontier, offset)
    problem = (
        f"offset {offset} is {offset - progress.committed:,} above the committed offset "
        f"{progress.committed}, more than the completion map can span "
        f"({limit_characters:,} characters); skip it once the records before it are done"
    )
    if not _may_fit(len(between), offset - progress.committed, limit_characters):
        raise EditError(problem)
    skipped = Progress((*progress.unfinished, *between), offset + 1, failures, progress.log_id)
    if not skipped.fits(limit_characters):
        raise EditError(problem)
    return skipped


def replay(progress: Progress, first: int, last: int, limit_characters: int) -> Progress:
    """Return the progress with ``first`` to ``last`` not done; everything else stays as it is.

    ``EditError`` if none of them is done, or if the completion map would not fit; then it says
    which range from ``first`` on does.
    """
    if last < first:
        raise EditError(f"the range ends at {last}, before its start {first}")
    if first >= progress.frontier or progress.unfinished_in(first, last + 1) == last + 1 - first:
        raise EditError(f"nothing from {first} to {last} is done yet: it will be done anyway")
    found = _replayed(progress, first, last, limit_characters)
    if found is not None:
        return found
    raise EditError(
        f"offsets {first} to {last} would need more of the completion map than the "
        f"{limit_characters:,} characters of the brokers' offset.metadata.max.bytes; from {first} "
        f"on, {_ranges_that_fit(progress, first, last, limit_characters)}"
    )


def seek(progress: Progress, offset: int) -> Progress:
    """Return the progress of a group that goes on at ``offset``.

    Forwards, what is done above it stays done. Backwards, everything from it on is done again.
    """
    if offset < progress.committed:
        return Progress((), offset, (), progress.log_id)
    kept = progress.unfinished[bisect_left(progress.unfinished, offset) :]
    failures = tuple(each for each in progress.failures if each.offset >= offset)
    frontier = max(progress.frontier, offset)
    return _trimmed(Progress(kept, frontier, failures, progress.log_id))


def _replayed(progress: Progress, first: int, last: int, limit_characters: int) -> Progress | None:
    if last >= progress.frontier - 1:
        # Nothing above is done: no list is needed.
        below = progress.unfinished[: bisect_left(progress.unfinished, first)]
        found = _trimmed(replace(progress, unfinished=below, frontier=first))
        return found if found.fits(limit_characters) else None
    lowest = min(first, progress.committed)
    if not _may_fit(last - first, progress.frontier - lowest, limit_characters):
        return None
    below = progress.unfinished[: bisect_left(progress.unfinished, first)]
    above = progress.unfinished[bisect_left(progress.unfinished, last + 1) :]
    found = replace(progress, unfinished=(*below, *range(first, last + 1), *above))
    return found if found.fits(limit_characters) else None


def _ranges_that_fit(progress: Progress, first: int, last: int, limit_characters: int) -> str:
    fits, too_far = first - 1, last
    while too_far - fits > 1:
        tried = (fits + too_far) // 2
        if _replayed(progress, first, tried, limit_characters) is None:
            too_far = tried
        else:
            fits = tried
    ranges = [f"to {fits} at most fits"] if fits >= first else []
    end = progress.frontier - 1
    if last < end and _replayed(progress, first, end, limit_characters) is not None:
        ranges.append(f"all to {end} fits")
    return ", and ".join(ranges) or "nothing fits: let the consumers finish more first"


def _may_fit(listed: int, span: int, limit_characters: int) -> bool:
    """Return whether so many offsets in such a span can fit, before a list of them is made.

    A gap takes a byte at least, and a bitset a bit for each offset.
    """
    return min(listed, span // 8) * 4 // 3 <= limit_characters


def _trimmed(progress: Progress) -> Progress:
    """Lower the frontier to where something is done below it."""
    unfinished, frontier = list(progress.unfinished), progress.frontier
    while unfinished and unfinished[-1] == frontier - 1:
        frontier = unfinished.pop()
    return replace(progress, unfinished=tuple(unfinished), frontier=frontier)
