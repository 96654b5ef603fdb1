"""Plans changes of a group's offsets, from what is committed. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from consumer.engine.offsets import progress as editing
from consumer.engine.offsets.completion_map import CompletionMapError
from consumer.engine.offsets.progress import EditError, Progress
from consumer.ports import Lag, OffsetAndMetadata, TopicPartition
from headrace.errors import UserError

MOST_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What an edit starts from.

    Attributes:
        begins_at_end: Whether consumers would begin at the ends of all partitions.
        log_id: Of the topic's log.
    """

    lags: Mapping[TopicPartition, Lag]
    begins_at_end: bool
    log_id: bytes
    limit_characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One partition's change; counts are of offsets, so upper bounds of records.

    Attributes:
        before: ``None`` without a commit.
        again: What is done and will be done once more.
        given_up: What is not done, and gets no outcome any more.
        blocked: What an open transaction hides behind the new offset; it is read once that ends.
    """

    partition: int
    before: OffsetAndMetadata | None
    after: OffsetAndMetadata
    again: int = 0
    given_up: int = 0
    blocked: int = 0

    @property
    def is_change(self) -> bool:
        return self.before != self.after

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        values["before"] = None if self.before is None else self.before.offset
        values["after"] = self.after.offset
        return {**values, "map_characters": len(self.after.metadata)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a group is to go on: exactly one of these is set.

    Attributes:
        by: Offsets from the committed one, backwards if negative.
    """

    offset: int | None = None
    time: datetime | None = None
    is_earliest: bool = False
    is_latest: bool = False
    by: int | None = None

    def __post_init__(self) -> None:
        given = [
            self.offset is not None,
            self.time is not None,
            self.is_earliest,
            self.is_latest,
            self.by is not None,
        ]
        if sum(given) != 1:
            raise UserError(
                "say where to go on, by one of --to-offset, --to-time, --to-earliest, --to-latest "
                "and --by"
            )


def beginning(log: Log) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return what has to be committed before any edit; empty if the group has begun.

    A group that has committed nothing and starts from ``latest`` begins in all partitions at once.
    With one partition committed alone, consumers would read the others from their start.
    """
    if not log.begins_at_end:
        return {}
    return {
        each: Progress((), lag.log_end, log_id=log.log_id).point()
        for each, lag in sorted(log.lags.items())
    }


def seek(
    log: Log,
    target: Target,
    partitions: Collection[int],
    first_since: Mapping[int, int],
) -> list[Edit]:
    """Plan where partitions go on; ``first_since`` has the offsets of the target's time, or -1."""
    edits, problems = [], []
    for partition, lag in _chosen(log, partitions):
        try:
            edits.append(_seek_one(log, target, partition, lag, first_since))
        except EditError as error:
            problems.append(f"partition {partition.partition}: {error}")
    if problems:
        raise UserError(_some(problems))
    return edits


def skip(log: Log, partition: int, offset: int) -> Edit:
    """Plan to mark one record as done."""
    return _edit_one(
        log,
        partition,
        (offset, offset),
        lambda progress: editing.skip(progress, offset, log.limit_characters),
    )


def replay(log: Log, partition: int, first: int, last: int) -> Edit:
    """Plan to do the records from ``first`` to ``last`` again, and nothing else."""
    edit = _edit_one(
        log,
        partition,
        (first, last),
        lambda progress: editing.replay(progress, first, last, log.limit_characters),
    )
    ((_, lag),) = _chosen(log, [partition])
    unfinished = _progress(log, lag).unfinished_in(first, last + 1)
    return replace(edit, again=last + 1 - first - unfinished)


def _seek_one(
    log: Log,
    target: Target,
    partition: TopicPartition,
    lag: Lag,
    first_since: Mapping[int, int],
) -> Edit:
    # Consumers take a commit beyond where their reading ends for one of another log.
    end = lag.log_end
    offset = _target_offset(target, partition, lag, first_since)
    if not lag.log_start <= offset <= end:
        raise EditError(
            f"offset {offset} is not between {lag.log_start} and {end}{_why_it_ends(lag)}"
        )
    try:
        progress = _progress(log, lag)
    except EditError:
        # Nobody can say what is done above it; the seek says where to go on.
        begin = lag.log_start if lag.committed is None else min(lag.committed.offset, end)
        progress = Progress((), max(begin, lag.log_start))
    after = replace(editing.seek(progress, offset), log_id=log.log_id or progress.log_id)
    begin = max(progress.committed, lag.log_start)
    is_back = offset < progress.committed
    again = progress.frontier - offset - progress.unfinished_in(offset, progress.frontier)
    return Edit(
        partition=partition.partition,
        before=lag.committed,
        after=after.point(),
        again=max(0, again) if is_back else 0,
        given_up=0 if is_back else progress.unfinished_in(begin, offset),
        blocked=lag.blocked_records if offset == end else 0,
    )


def _why_it_ends(lag: Lag) -> str:
    if not lag.blocked_records:
        return ""
    return (
        f": an open transaction begins at {lag.log_end}, and hides {lag.blocked_records} offsets "
        "until it ends"
    )


def _target_offset(
    target: Target, partition: TopicPartition, lag: Lag, first_since: Mapping[int, int]
) -> int:
    end = lag.log_end
    if target.offset is not None:
        return target.offset
    if target.is_earliest:
        return lag.log_start
    if target.is_latest:
        return end
    if target.by is None:
        found = first_since[partition.partition]
        return end if found < 0 else min(found, end)
    if lag.committed is None:
        raise EditError("nothing is committed that --by could count from")
    return lag.committed.offset + target.by


def _edit_one(
    log: Log, partition: int, named: tuple[int, int], edit: Callable[[Progress], Progress]
) -> Edit:
    ((place, lag),) = _chosen(log, [partition])
    end = lag.log_end
    for offset in named:
        if not lag.log_start <= offset < end:
            raise UserError(
                f"partition {partition}: there is no offset {offset}; the log has {lag.log_start} "
                f"to {end - 1}{_why_it_ends(lag)}"
            )
    try:
        progress = _progress(log, lag)
        after = replace(edit(progress), log_id=log.log_id or progress.log_id)
    except EditError as error:
        raise UserError(f"partition {place.partition}: {error}") from None
    return Edit(partition=partition, before=lag.committed, after=after.point())


def _progress(log: Log, lag: Lag) -> Progress:
    """Return a partition's progress; ``EditError`` if what is committed does not say it."""
    if lag.committed is None:
        return Progress((), lag.log_end if log.begins_at_end else lag.log_start)
    try:
        progress = Progress.of(lag.committed)
    except CompletionMapError as error:
        raise EditError(f"{error}; say where to go on with `headrace offsets seek` first") from None
    if progress.log_id and log.log_id and progress.log_id != log.log_id:
        raise EditError(
            "the topic was deleted and created again since the last commit, which is of the old "
            "one; say where to go on with `headrace offsets seek` first"
        )
    return progress


def _chosen(log: Log, partitions: Collection[int]) -> list[tuple[TopicPartition, Lag]]:
    """Return the partitions that are named, or all; ``UserError`` if there is no such one."""
    known = {each.partition: (each, lag) for each, lag in sorted(log.lags.items())}
    missing = [number for number in partitions if number not in known]
    if missing:
        raise UserError(
            f"--partition: there is no partition {missing[0]}; the topic has {len(known)}, from 0 "
            "on"
        )
    return [known[number] for number in (sorted(set(partitions)) or known)]


def _some(problems: Sequence[str]) -> str:
    rest = len(problems) - MOST_NAMED
    return "; ".join(problems[:MOST_NAMED]) + (f"; and {rest} more partitions" if rest > 0 else "")
