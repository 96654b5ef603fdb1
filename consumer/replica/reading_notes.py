"""A note, outside of the process, of the record that is being read.

If a record ends the process itself, e.g. by a bug in a parser, only the successor can find out. The
note is in a file on the node, where Serve usually starts the successor. The file is memory-mapped:
writing costs a fraction of a microsecond, and the note outlives the process, however that ends.
"""

import hashlib
import logging
import mmap
import os
import tempfile
from pathlib import Path

from consumer.ports import Record

log = logging.getLogger(__name__)

_NOTE, _SUSPECT, _ENDS, _NUMBERS = 0, 2, 4, 5
"""A partition's numbers: the offset plus one of the record being read, or 0, and its timestamp; the
same of the record at which a process last ended; and how many ended there."""
_MOST_PARTITIONS = 4_096
"""Higher partitions have no notes."""
_MASK = (1 << 64) - 1


class FileNotes:
    """The ``ReadingNotes`` of a topic, in a file that all members of the group on the node share.

    Raises ``OSError`` if the file cannot be created or used.
    """

    def __init__(self, file: Path) -> None:
        size_bytes = 8 * _NUMBERS * _MOST_PARTITIONS
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            # Not a file with holes: a write into one on a full disk ends the process.
            os.posix_fallocate(descriptor, 0, size_bytes)
            self._numbers = memoryview(mmap.mmap(descriptor, size_bytes)).cast("Q")
        finally:
            os.close(descriptor)
        self._known: set[int] = set()
        self._suspects: dict[int, tuple[int, int, int]] = {}

    def begin(self, record: Record) -> int:
        partition = record.partition.partition
        if partition >= _MOST_PARTITIONS:
            return 0
        if partition not in self._known:
            self._learn(partition)
        place, timestamp = partition * _NUMBERS, (record.timestamp_ms or 0) & _MASK
        self._numbers[place + 1] = timestamp
        self._numbers[place] = record.offset + 1
        if partition not in self._suspects:
            return 0
        offset, suspects_timestamp, ends = self._suspects[partition]
        return ends if (offset, suspects_timestamp) == (record.offset, timestamp) else 0

    def end(self, record: Record) -> None:
        partition = record.partition.partition
        if partition < _MOST_PARTITIONS:
            self._numbers[partition * _NUMBERS] = 0

    def _learn(self, partition: int) -> None:
        self._known.add(partition)
        numbers = self._numbers[partition * _NUMBERS : (partition + 1) * _NUMBERS]
        note, suspect = numbers[_NOTE:_SUSPECT], numbers[_SUSPECT:_ENDS]
        if note[0]:
            numbers[_ENDS] = numbers[_ENDS] + 1 if suspect == note else 1
            suspect[:] = note
            note[0] = 0
            log.warning(
                "partition %d: a consumer ended while it read the record at offset %d (%d times "
                "in a row)",
                partition,
                suspect[0] - 1,
                numbers[_ENDS],
                extra={
                    "event": "consumer_ended_at_record",
                    "partition": partition,
                    "offset": suspect[0] - 1,
                    "ends": numbers[_ENDS],
                },
            )
        if numbers[_ENDS]:
            self._suspects[partition] = (suspect[0] - 1, suspect[1], numbers[_ENDS])


def open_notes(bootstrap: str, group: str, topic: str) -> FileNotes | None:
    """Return the notes of a topic on this node; ``None``, with a warning, without a place."""
    name = hashlib.sha256("\0".join((bootstrap, group, topic)).encode()).hexdigest()[:32]
    folder = Path(tempfile.gettempdir()) / f"headrace-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user")
        return FileNotes(folder / f"reading-{name}")
    except OSError as error:
        log.warning(
            "no notes of what is being read can be kept, so a record that ends the consumer would "
            "do so again and again: %s",
            error,
            extra={"event": "no_reading_notes", "error_class": type(error).__name__},
        )
        return None
