"""Known bugs, planted into the client's process, to prove that the harness finds them.

``HEADRACE_BULK_CHAOS_PLANTED`` names the bug; only ``tests/bulk_chaos`` reads it.
"""

import sys
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any

from headrace_client.jobs import Job, Request
from headrace_client.jobs.flight import Flight
from headrace_client.jobs.offsets import OffsetLedger
from headrace_client.jobs.ranges import RangeSet
from headrace_client.jobs.writing import Writing

VARIABLE = "HEADRACE_BULK_CHAOS_PLANTED"


class Bug(StrEnum):
    """A bug to plant. Each name is a key of the report."""

    COMMIT_PAST_UNWRITTEN = "commit_past_unwritten"
    """The checkpoint's offsets are those that were read, not those that are still needed."""
    REPUBLISH = "republish"
    """What a former process published is not looked for."""
    LOSE_HALF_OF_A_SPLIT = "lose_half_of_a_split"
    """Of a refused request only every second item is sent again."""
    CHECKPOINT_WHAT_WAS_ANSWERED = "checkpoint_what_was_answered"
    """Items that wait for their turn count as written."""
    SEND_WHAT_WAS_NOT_READ = "send_what_was_not_read"
    """What failed before a crash is sent again before its rows are read again."""


SHOWS_AS: Mapping[Bug, Collection[str]] = {
    Bug.COMMIT_PAST_UNWRITTEN: ("stalled", "rows_differ", "client_failed", "published_again"),
    Bug.REPUBLISH: ("published_again", "computed_again"),
    Bug.LOSE_HALF_OF_A_SPLIT: ("stalled",),
    Bug.CHECKPOINT_WHAT_WAS_ANSWERED: ("rows_differ", "stalled", "client_failed"),
    Bug.SEND_WHAT_WAS_NOT_READ: ("rows_differ", "client_failed"),
}


def plant(bug: Bug) -> None:
    """Change the code of this process."""
    _PLANTS[bug]()


def _commit_past_unwritten() -> None:
    def positions(self: OffsetLedger, durable: RangeSet) -> dict[int, int]:
        return self.ends

    _replace(OffsetLedger, "positions", positions)


def _republish() -> None:
    published = Job.published

    def only_acknowledged(
        self: Job, request: Request, partition: int, offset: int, now: float
    ) -> None:
        if request in self._unacknowledged:
            published(self, request, partition, offset, now)

    _replace(Job, "published", only_acknowledged)


def _lose_half_of_a_split() -> None:
    queue = Flight.queue

    def queue_half(self: Flight, request: Request) -> None:
        if request.items > 1 or request.first % 2:
            queue(self, request)

    _replace(Flight, "queue", queue_half)


def _checkpoint_what_was_answered() -> None:
    written = Writing.written

    def written_with_all_that_came(self: Writing, sequence: int) -> None:
        written(self, sequence)
        for first, end in self.done:
            self.durable.add(first, end)

    _replace(Writing, "written", written_with_all_that_came)


def _send_what_was_not_read() -> None:
    next_queued = Flight.next_queued

    def next_of_all(self: Flight, done: RangeSet, items_read: int) -> Request | None:
        return next_queued(self, done, sys.maxsize)

    _replace(Flight, "next_queued", next_of_all)


def _replace(owner: type, name: str, function: Callable[..., Any]) -> None:
    setattr(owner, name, function)


_PLANTS: Mapping[Bug, Callable[[], None]] = {
    Bug.COMMIT_PAST_UNWRITTEN: _commit_past_unwritten,
    Bug.REPUBLISH: _republish,
    Bug.LOSE_HALF_OF_A_SPLIT: _lose_half_of_a_split,
    Bug.CHECKPOINT_WHAT_WAS_ANSWERED: _checkpoint_what_was_answered,
    Bug.SEND_WHAT_WAS_NOT_READ: _send_what_was_not_read,
}
