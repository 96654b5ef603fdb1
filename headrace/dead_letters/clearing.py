"""Finds how much of a dead-letter topic may be deleted: all before the first unhandled. Pure."""

from collections.abc import Mapping

from headrace.records.reading import LogRange


class Clearing:
    def __init__(self, unhandled: Mapping[int, LogRange]) -> None:
        self._ends = {number: each.end for number, each in unhandled.items()}
        self._clear_below = {number: each.start for number, each in unhandled.items()}
        self._blocked: set[int] = set()

    def handle(self, partition: int, offset: int) -> None:
        if partition not in self._blocked:
            self._clear_below[partition] = offset + 1

    def keep(self, partition: int, offset: int) -> None:
        if partition not in self._blocked:
            self._clear_below[partition] = offset
            self._blocked.add(partition)

    def finish(self) -> None:
        """Everything was read: only transaction markers stand behind the last records."""
        for number, end in self._ends.items():
            if number not in self._blocked:
                self._clear_below[number] = end

    def offsets(self, ranges: Mapping[int, LogRange]) -> dict[int, int]:
        """Return the offset below which each partition can be deleted, if that deletes anything."""
        return {
            number: below
            for number, below in sorted(self._clear_below.items())
            if number in ranges and below > ranges[number].start
        }
