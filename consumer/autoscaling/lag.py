"""How much work a consumer group has left, in records.

Brokers report offsets, and not every offset is work: a record may be done already, by the
completion map, or expired, compacted away, or a transaction marker. The first two are subtracted.
The others cannot be seen from outside, but a running consumer commits past them within a commit
interval.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from consumer.engine.offsets import completion_map
from consumer.engine.offsets.completion_map import CompletionMapError
from consumer.ports import Lag, OffsetAndMetadata, TopicPartition


class LagBasis(Enum):
    COMMITTED = "committed"
    """The group's committed offset and its completion map."""
    UNREADABLE_MAP = "unreadable_map"
    """The committed offset alone: its metadata is no completion map. An upper bound."""
    EXPIRED = "expired"
    """The start of the log: records between the committed offset and it have expired."""
    NO_COMMIT = "no_commit"
    """The offset where a group without a commit would begin. It may never read: no known work."""
    BEYOND_END = "beyond_end"
    """Nothing: the committed offset is beyond the log's end, so it is of another log."""


class Remaining(NamedTuple):
    """One partition's remaining work.

    Attributes:
        records: Records from the committed offset to the log's end that are not done; an upper
            bound, as compacted records and transaction markers in between have offsets too.
        expired_records: Offsets that retention has deleted before they were done.
    """

    records: int
    expired_records: int
    basis: LagBasis

    @property
    def is_known(self) -> bool:
        """Whether it may justify capacity: not with a missing or an invalid offset."""
        return self.basis not in (LagBasis.NO_COMMIT, LagBasis.BEYOND_END)


def remaining(lag: Lag, *, from_latest: bool) -> Remaining:
    """Return a partition's remaining work; without a commit, ``from_latest`` decides."""
    if lag.committed is None or lag.committed.offset < 0:
        begin = lag.log_end if from_latest else lag.log_start
        return Remaining(max(0, lag.log_end - begin), 0, LagBasis.NO_COMMIT)
    committed = lag.committed.offset
    if committed > lag.log_end:
        return Remaining(0, 0, LagBasis.BEYOND_END)
    basis = LagBasis.COMMITTED
    try:
        done = completion_map.count_incomplete(*lag.committed)
    except CompletionMapError:
        done, basis = None, LagBasis.UNREADABLE_MAP
    if committed < lag.log_start:
        basis = LagBasis.EXPIRED
    begin = max(committed, lag.log_start)
    expired = begin - committed
    if done is None or done[0] == committed:
        return Remaining(max(0, lag.log_end - begin), expired, basis)
    highest_completed, incomplete = done
    # The committed offset is the lowest incomplete one.
    below = 1 + incomplete if not expired else _incomplete_from(begin, lag.committed)
    above = max(0, lag.log_end - max(highest_completed + 1, begin))
    return Remaining(below + above, expired, basis)


def _incomplete_from(offset: int, committed: OffsetAndMetadata) -> int:
    found = completion_map.decode(*committed)
    incomplete = found.incomplete if found else ()
    return len(incomplete) - bisect_left(incomplete, offset)


def begins_at_end(lags: Mapping[TopicPartition, Lag], *, from_latest: bool) -> bool:
    """Return whether a partition without a commit will be read from the end of its log.

    Only a group that has committed nothing on the topic begins there; a partition that was added
    later is read from its start.
    """
    return from_latest and all(lag.committed is None for lag in lags.values())


def seconds_left(records: int, records_per_s: float | None) -> float | None:
    if not records:
        return 0.0
    return records / records_per_s if records_per_s else None


def tokens_left(records: int, tokens_per_record: float | None) -> int | None:
    return None if tokens_per_record is None else round(records * tokens_per_record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """A group's remaining work over all partitions, at one moment.

    Attributes:
        records: Remaining records, of partitions whose number is known.
        unknown_records: Offsets that a group without a commit would read: no known work.
        arrived_records: Offsets written since the tracker's first reading.
        done_records: Remaining records that have been done since then.
        partitions: The topic's partitions; 0 if it was never read.
        read_at_s: Monotonic seconds of the last good reading; ``None`` if there was none.
        blocked_records: Offsets behind open transactions, which cannot be read yet.
        notes: For a person: what is held, unknown, expired or blocked.
    """

    records: int = 0
    unknown_records: int = 0
    arrived_records: int = 0
    done_records: int = 0
    partitions: int = 0
    active_partitions: int = 0
    blocked_records: int = 0
    read_at_s: float | None = None
    notes: tuple[str, ...] = ()


class BacklogTracker:
    """Adds up readings, and keeps a partition's last good number until there is a newer one."""

    def __init__(self, *, from_latest: bool) -> None:
        self._from_latest = from_latest
        self._lags: dict[TopicPartition, Lag] = {}
        self._known: dict[TopicPartition, Remaining] = {}
        self._arrived_records = 0
        self._done_records = 0
        self._current = Backlog()

    @property
    def current(self) -> Backlog:
        return self._current

    def failed(self, reason: str) -> Backlog:
        self._current = replace(self._current, notes=(f"held: {reason}",))
        return self._current

    def observe(self, lags: Mapping[TopicPartition, Lag], now_s: float) -> Backlog:
        """Add a reading; the numbers of partitions that were not read are held."""
        if not lags:
            return self.failed("no partition was read")
        from_latest = begins_at_end(lags, from_latest=self._from_latest)
        unknown_records = expired_records = 0
        held: list[str] = []
        for partition, lag in lags.items():
            # The map of an idle partition need not be read again.
            is_unchanged = self._lags.get(partition) == lag
            found = (
                self._known[partition] if is_unchanged else remaining(lag, from_latest=from_latest)
            )
            if not found.is_known:
                unknown_records += found.records
                held.append(f"{partition.topic}/{partition.partition} {found.basis.value}")
                continue
            expired_records += self._take(partition, lag, found)
        silent = self._lags.keys() - lags.keys()
        notes = []
        if held:
            notes.append(f"no valid offset: {_some(sorted(held))}")
        if silent:
            names = sorted(f"{each.topic}/{each.partition}" for each in silent)
            notes.append(f"held, no answer: {_some(names)}")
        if expired_records:
            notes.append(f"{expired_records} offsets expired before they were done")
        blocked = {each: lag.blocked_records for each, lag in lags.items() if lag.blocked_records}
        if blocked:
            names = sorted(f"{each.topic}/{each.partition}" for each in blocked)
            notes.append(
                f"{sum(blocked.values())} records wait behind an open transaction: {_some(names)}"
            )
        self._current = Backlog(
            records=sum(each.records for each in self._known.values()),
            unknown_records=unknown_records,
            arrived_records=self._arrived_records,
            done_records=self._done_records,
            partitions=len(lags.keys() | self._lags.keys()),
            active_partitions=sum(1 for each in self._known.values() if each.records),
            blocked_records=sum(blocked.values()),
            read_at_s=now_s,
            notes=tuple(notes),
        )
        return self._current

    def _take(self, partition: TopicPartition, lag: Lag, found: Remaining) -> int:
        earlier, before = self._lags.get(partition), self._known.get(partition)
        self._lags[partition], self._known[partition] = lag, found
        if earlier is None or before is None:
            return 0
        arrived = max(0, lag.log_end - earlier.log_end)
        expired = max(0, found.expired_records - before.expired_records)
        self._arrived_records += arrived
        self._done_records += max(0, before.records + arrived - found.records - expired)
        return expired


def _some(names: list[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
