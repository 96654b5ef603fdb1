"""Admission: how much may be held at once, in records and in bytes."""

from dataclasses import dataclass


@dataclass(slots=True)
class Admission:
    """Counts what a consumer replica holds: queued, in flight and waiting to be acknowledged.

    It closes at either limit and opens again only when an eighth of the limit is free, so that a
    full consumer polls in worthwhile portions instead of record by record.

    Attributes:
        max_records: The most records held.
        max_bytes: The most bytes held: requests with their keys and headers, and results until
            acknowledged. A poll that was under way may overshoot it by what the client has
            prefetched.
    """

    max_records: int
    max_bytes: int
    held_records: int = 0
    held_bytes: int = 0
    _closed: bool = False
    _average_bytes: float = 512.0

    def admit(self, size_bytes: int) -> None:
        """Count one more record."""
        self.held_records += 1
        self.held_bytes += size_bytes
        # A running mean, to turn the bytes that are left into a number of records to ask for.
        self._average_bytes += (size_bytes - self._average_bytes) / 64

    def grow(self, size_bytes: int) -> None:
        """Count more bytes of a record that is held, or fewer."""
        self.held_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Count one record less, with all of its bytes."""
        self.held_records -= 1
        self.held_bytes -= size_bytes

    def allowance_records(self) -> int:
        """Return how many records to ask for now; 0 while closed."""
        free_records = self.max_records - self.held_records
        free_bytes = self.max_bytes - self.held_bytes
        if free_records <= 0 or free_bytes <= 0:
            self._closed = True
        elif self._closed:
            self._closed = free_records * 8 < self.max_records or free_bytes * 8 < self.max_bytes
        if self._closed:
            return 0
        return max(1, min(free_records, int(free_bytes / max(self._average_bytes, 1.0))))
