"""One partition's offsets: delivered, complete, to commit."""

from collections import deque
from collections.abc import Collection
from enum import Enum

from consumer.engine.offsets import completion_map
from consumer.engine.offsets.completion_map import CompletionMap, RecordFailures
from consumer.ports import OffsetAndMetadata

_COMPACT_AT = 64
_MOST_CEILING_RECORDS = 1024
_FAILURES_SHARE = 16
"""One part in this many of the metadata is for failures of records to retry; of 4,096 characters
that is 192 bytes, about 45 records."""


class Delivery(Enum):
    ADMITTED = "admitted"
    """New: it is to be processed, and keeps the committed offset back until it is complete."""
    ALREADY_DONE = "already_done"
    """Complete before this assignment: ignored."""
    BEHIND = "behind"
    """Below an offset that was read already: the log is another one."""
    NO_ROOM = "no_room"
    """Admitting it could make the completion map exceed the limit: seek back to it later."""


class PartitionLedger:
    """Tracks one partition from its committed offset on, while it is assigned.

    Records complete in any order. The committed offset is the lowest incomplete one; the completion
    map lists what is complete above it. Only delivered offsets are tracked: others need not exist.
    ``log_id`` is committed with the offsets; it may be empty. ``CompletionMapError`` means that the
    committed metadata cannot be read.
    """

    def __init__(
        self,
        committed: OffsetAndMetadata | None,
        metadata_limit_characters: int,
        log_id: bytes = b"",
    ) -> None:
        self._limit_characters = metadata_limit_characters
        self._log_id = log_id
        self._failures_bytes = metadata_limit_characters * 3 // (4 * _FAILURES_SHARE)
        self._failures: dict[int, RecordFailures] = {}
        self._incomplete: set[int] = set()
        # Ascending; every incomplete offset and, until trimmed, some complete ones.
        self._order: deque[int] = deque()
        # Incomplete in the committed map and not delivered again yet; ascending.
        self._awaited: deque[int] = deque()
        # All offsets below have room in the map, whichever of them exist and are complete.
        self._ceiling = 0
        self._next_offset = None if committed is None else committed.offset
        self._highest_completed = -1
        self._restored_highest = -1
        restored = None if committed is None else completion_map.decode(*committed)
        if restored is not None:
            self._failures = {each.offset: each for each in restored.failures}
        if (
            committed is not None
            and restored is not None
            and (restored.highest_completed > committed.offset)
        ):
            self._restored_highest = self._highest_completed = restored.highest_completed
            self._awaited.extend((committed.offset, *restored.incomplete))
            self._order.extend(self._awaited)
            self._incomplete.update(self._awaited)

    @property
    def next_offset(self) -> int | None:
        return self._next_offset

    @property
    def incomplete_records(self) -> int:
        return len(self._incomplete)

    def remaining_records(self, log_end: int) -> int:
        """Return how many offsets below ``log_end`` are not complete; some may have no record."""
        if self._next_offset is None:
            return 0
        unread = log_end - max(self._next_offset, self._restored_highest + 1)
        return len(self._incomplete) + max(0, unread)

    @property
    def map_ratio(self) -> float:
        """How full the completion map may get with what was read, of the most that it may have.

        Beyond 1 after a move from a cluster with a higher limit.
        """
        if self._next_offset is None or not self._order:
            return 0.0
        characters = completion_map.worst_case_characters(
            len(self._incomplete),
            self._next_offset - 1 - self._order[0],
            self._failures_bytes + len(self._log_id),
        )
        return characters / self._limit_characters if self._limit_characters else 1.0

    @property
    def lowest_incomplete(self) -> int | None:
        """The lowest incomplete offset of those delivered or committed as incomplete."""
        return self._order[0] if self._order else None

    def deliver(self, offset: int) -> Delivery:
        """Track a record that was read; offsets come in ascending order."""
        if self._next_offset is not None and offset < self._next_offset:
            return Delivery.BEHIND
        if offset <= self._restored_highest:
            self._drop_vanished(offset)
            if offset in self._incomplete:
                self._awaited.popleft()
                self._next_offset = offset + 1
                return Delivery.ADMITTED
            self._next_offset = offset + 1
            return Delivery.ALREADY_DONE
        if offset >= self._ceiling and not self._raise_ceiling(offset):
            return Delivery.NO_ROOM
        if self._awaited:
            self._drop_vanished(offset)
        self._next_offset = offset + 1
        self._incomplete.add(offset)
        self._order.append(offset)
        return Delivery.ADMITTED

    def pass_over(self, position: int) -> None:
        """Note that the log was read to ``position``, also past offsets without a record."""
        if self._next_offset is None:
            # Reading began here; committed, so that it stays even if no record comes for long.
            self._next_offset = position
        if position <= self._next_offset:
            return
        self._drop_vanished(position)
        self._next_offset = position

    def expire(self, log_start: int) -> int:
        """Note the log's new start; return how many unread offsets are gone that were not done."""
        if self._next_offset is None or log_start <= self._next_offset:
            return 0
        lost = sum(1 for offset in self._awaited if offset < log_start)
        lost += max(0, log_start - max(self._next_offset, self._restored_highest + 1))
        self.pass_over(log_start)
        return lost

    def complete(self, offset: int) -> None:
        if offset not in self._incomplete:
            return
        self._incomplete.discard(offset)
        self._failures.pop(offset, None)
        self._highest_completed = max(self._highest_completed, offset)
        if offset == self._order[0] or self._has_stale_order():
            self._trim()

    def failed(self, offset: int, attempts: int, strikes: int) -> None:
        """Note that a delivered record will be retried; ``strikes`` failures count against it."""
        if offset in self._incomplete:
            self._failures[offset] = RecordFailures(offset, attempts, strikes)

    def failures_of(self, offset: int) -> RecordFailures | None:
        return self._failures.get(offset)

    def _raise_ceiling(self, offset: int) -> bool:
        """Find room for ``offset`` and as many behind it as possible now.

        The bound on the map grows with the incomplete records and with their span, and both only
        shrink as records complete: room that was found stays.
        """
        records = _MOST_CEILING_RECORDS
        while records and not self.has_room(offset, records):
            records //= 2
        self._ceiling = offset + records
        return records > 0

    def has_room(self, offset: int, records: int) -> bool:
        lowest = self._order[0] if self._order else offset
        characters = completion_map.worst_case_characters(
            len(self._incomplete) + records,
            offset + records - 1 - lowest,
            self._failures_bytes + len(self._log_id),
        )
        return characters <= self._limit_characters

    def offset_and_metadata(self, completing: Collection[int] = ()) -> OffsetAndMetadata | None:
        """Return a consistent snapshot, as if ``completing`` were done; ``None`` at first."""
        if self._next_offset is None:
            return None
        open_offsets = self._incomplete.difference(completing) if completing else self._incomplete
        committed = next((offset for offset in self._order if offset in open_offsets), None)
        if committed is None:
            committed = max(self._next_offset, self._restored_highest + 1)
            highest = committed
        else:
            highest = max(committed, self._highest_completed, max(completing, default=-1))
        failures = self._failures_to_keep(committed, open_offsets) if self._failures else ()
        if highest == committed and not failures and not self._log_id:
            return OffsetAndMetadata(committed, "")
        incomplete = tuple(
            offset
            for offset in self._order
            if committed < offset < highest and offset in open_offsets
        )
        progress = CompletionMap(highest, incomplete, failures, self._log_id)
        return OffsetAndMetadata(committed, completion_map.encode(committed, progress))

    def _failures_to_keep(
        self, committed: int, open_offsets: Collection[int]
    ) -> tuple[RecordFailures, ...]:
        to_come = committed if self._next_offset is None else self._next_offset
        kept = [
            each
            for offset, each in self._failures.items()
            if offset >= to_come or (offset >= committed and offset in open_offsets)
        ]
        return completion_map.worst_of(committed, kept, self._failures_bytes)

    def _drop_vanished(self, offset: int) -> None:
        while self._awaited and self._awaited[0] < offset:
            vanished = self._awaited.popleft()
            self._incomplete.discard(vanished)
            self._failures.pop(vanished, None)
        self._trim()

    def _trim(self) -> None:
        while self._order and self._order[0] not in self._incomplete:
            self._order.popleft()
        if self._has_stale_order():
            self._order = deque(offset for offset in self._order if offset in self._incomplete)

    def _has_stale_order(self) -> bool:
        # One record that takes hours must not keep the offsets of millions behind it in memory.
        return len(self._order) > 2 * len(self._incomplete) + _COMPACT_AT
