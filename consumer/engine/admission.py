"""Admission: how much may be held at once, in records and in bytes."""

from dataclasses import dataclass


@dataclass(slots=True)
class Admission:
    """Counts the records and bytes that a consumer replica holds.

    It closes at either limit and reopens when an eighth of the limit is free, so that a full
    consumer polls portions and not single records. Bytes are those of requests with keys and
    headers, and of results until they are acknowledged. A poll under way may exceed the limit by
    what the client has prefetched.
    """

    max_records: int
    max_bytes: int
    held_records: int = 0
    held_bytes: int = 0
    _closed: bool = False
    _average_bytes: float = 512.0

    def admit(self, size_bytes: int) -> None:
        self.held_records += 1
        self.held_bytes += size_bytes
        # A running mean, to turn the free bytes into a number of records.
        self._average_bytes += (size_bytes - self._average_bytes) / 64

    def grow(self, size_bytes: int) -> None:
        self.held_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        self.held_records -= 1
        self.held_bytes -= size_bytes

    def allowance_records(self) -> int:
        free_records = self.max_records - self.held_records
        free_bytes = self.max_bytes - self.held_bytes
        if free_records <= 0 or free_bytes <= 0:
            self._closed = True
        elif self._closed:
            self._closed = free_records * 8 < self.max_records or free_bytes * 8 < self.max_bytes
        if self._closed:
            return 0
        return max(1, min(free_records, int(free_bytes / max(self._average_bytes, 1.0))))
