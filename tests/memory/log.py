"""A topic's partition in memory: records by offset, with gaps and a moving start."""

from bisect import bisect_left
from collections.abc import Collection

from consumer.ports import Message, Record, TopicPartition


class PartitionLog:
    """One partition's log.

    Args:
        partition: Which partition it is.
    """

    def __init__(self, partition: TopicPartition) -> None:
        self._partition = partition
        self._offsets: list[int] = []
        self._records: list[Record] = []
        self.start_offset = 0
        self.end_offset = 0

    def append(self, message: Message, timestamp_ms: int) -> int:
        """Add a record; return its offset."""
        offset = self.end_offset
        self._offsets.append(offset)
        self._records.append(
            Record(
                self._partition,
                offset,
                message.key,
                message.value,
                list(message.headers),
                timestamp_ms,
            )
        )
        self.end_offset += 1
        return offset

    def read(self, offset: int, max_records: int) -> list[Record]:
        """Return the first records at or above ``offset``."""
        first = bisect_left(self._offsets, max(offset, self.start_offset))
        return self._records[first : first + max_records]

    def delete(self, offsets: Collection[int]) -> None:
        """Remove records, as compaction does; the end stays."""
        gone = set(offsets)
        self._records = [record for record in self._records if record.offset not in gone]
        self._offsets = [record.offset for record in self._records]

    def skip(self, count: int) -> None:
        """Skip offsets, as transaction markers do."""
        self.end_offset += count

    def move_start(self, offset: int) -> None:
        """Delete all records below ``offset``, as retention does.

        Raises:
            ValueError: The offset is beyond the log's end.
        """
        if offset > self.end_offset:
            raise ValueError(f"offset {offset} is beyond the log's end, {self.end_offset}")
        self.start_offset = max(self.start_offset, offset)
        self.delete([each for each in self._offsets if each < self.start_offset])
