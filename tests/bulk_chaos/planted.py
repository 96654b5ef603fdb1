"""Known bugs, planted into the client's process, to prove that the harness finds them.

``HEADRACE_BULK_CHAOS_PLANTED`` names the bug; only ``tests/bulk_chaos`` reads it.
"""

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any

from headrace_client.jobs import Job, Outcome, Piece, Request
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
    CHECKPOINT_WHAT_WAS_TAKEN = "checkpoint_what_was_taken"
    """Rows count as written when they are handed to the writer."""
    TAKE_REPEATS_FOR_NEW = "take_repeats_for_new"
    """An item that has an outcome takes another one."""


SHOWS_AS: Mapping[Bug, Collection[str]] = {
    Bug.COMMIT_PAST_UNWRITTEN: ("stalled", "rows_differ", "client_failed", "published_again"),
    Bug.REPUBLISH: ("published_again", "computed_again"),
    Bug.LOSE_HALF_OF_A_SPLIT: ("stalled",),
    Bug.CHECKPOINT_WHAT_WAS_TAKEN: ("rows_differ", "stalled", "client_failed"),
    Bug.TAKE_REPEATS_FOR_NEW: ("rows_differ", "stalled", "client_failed"),
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


def _checkpoint_what_was_taken() -> None:
    take = Writing.take

    def take_for_written(self: Writing, items_read: int, most_items: int | None) -> list[Piece]:
        pieces = take(self, items_read, most_items)
        if pieces:
            self.written(pieces[-1].sequence)
            # The checkpoint is as far ahead of the output as a process can be.
            self.durable.add(0, max(pieces[-1].end, 1))
        return pieces

    _replace(Writing, "take", take_for_written)


def _take_repeats_for_new() -> None:
    put = Writing.put

    def put_without_noting(
        self: Writing, first: int, end: int, request_first: int, outcome: Outcome
    ) -> None:
        put(self, first, end, request_first, outcome)
        self.done = RangeSet(self.durable)

    _replace(Writing, "put", put_without_noting)


def _replace(owner: type, name: str, function: Callable[..., Any]) -> None:
    setattr(owner, name, function)


_PLANTS: Mapping[Bug, Callable[[], None]] = {
    Bug.COMMIT_PAST_UNWRITTEN: _commit_past_unwritten,
    Bug.REPUBLISH: _republish,
    Bug.LOSE_HALF_OF_A_SPLIT: _lose_half_of_a_split,
    Bug.CHECKPOINT_WHAT_WAS_TAKEN: _checkpoint_what_was_taken,
    Bug.TAKE_REPEATS_FOR_NEW: _take_repeats_for_new,
}
