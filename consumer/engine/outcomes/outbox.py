"""Decided outcomes on their way to the broker."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from consumer.engine.work import PartitionAssignment, WorkItem
from consumer.ports import Message


@dataclass(eq=False, slots=True)
class Publication:
    """One record's outcome; the record is complete when all its messages are acknowledged.

    Attributes:
        item: The record's work.
        messages: What to publish.
        is_small: The result is the small one in the place of one that its topic refused.
        has_letter: A dead letter is among its messages, or published already.
    """

    item: WorkItem
    messages: list[Message]
    is_small: bool = False
    has_letter: bool = False


class Outbox:
    """First decided, first published, within each input partition.

    It starts closed, and closes around rebalances: an outcome published while the partition may
    be going could be published by its new owner too.
    """

    def __init__(self) -> None:
        self._waiting: dict[PartitionAssignment, deque[Publication]] = {}
        self._is_open = False
        self._lets_out_waiting = False
        self._left_before_closed: dict[PartitionAssignment, int] = {}

    def add(self, publication: Publication) -> None:
        """Queue an outcome."""
        assignment = publication.item.assignment
        waiting = self._waiting.get(assignment)
        if waiting is None:
            waiting = self._waiting[assignment] = deque()
        waiting.append(publication)

    def put_back(self, publications: Iterable[Publication]) -> None:
        """Queue outcomes that were taken and not published, before what waits."""
        for publication in reversed(list(publications)):
            assignment = publication.item.assignment
            self._waiting.setdefault(assignment, deque()).appendleft(publication)
            if assignment in self._left_before_closed:
                self._left_before_closed[assignment] += 1

    def open(self) -> None:
        """Let everything through."""
        self._is_open = True
        self._left_before_closed.clear()

    def close(self, *, let_out_waiting: bool) -> None:
        """Let out what waits now, or nothing, and hold what is added from here on.

        Once nothing is let out it stays so until ``open``.
        """
        let_out_waiting = let_out_waiting and not self.is_held
        self._is_open = False
        self._lets_out_waiting = let_out_waiting
        counts = {each: len(waiting) for each, waiting in self._waiting.items()}
        self._left_before_closed = counts if let_out_waiting else {}

    @property
    def is_held(self) -> bool:
        """Whether nothing may be published at all, whatever waits."""
        return not self._is_open and not self._lets_out_waiting

    @property
    def has_publishable(self) -> bool:
        """Whether anything may be taken."""
        if self._is_open:
            return bool(self._waiting)
        return any(map(self.publishable_records, self._waiting))

    def publishable_records(self, assignment: PartitionAssignment) -> int:
        """Return how many outcomes of an assignment may be taken."""
        waiting = len(self._waiting.get(assignment, ()))
        if self._is_open:
            return waiting
        return min(waiting, self._left_before_closed.get(assignment, 0))

    def take(self) -> Publication:
        """Take an outcome, of one partition after the other; only while ``has_publishable``."""
        if self._is_open:
            return self.take_of(next(iter(self._waiting)))
        return self.take_of(next(filter(self.publishable_records, self._waiting)))

    def take_of(self, assignment: PartitionAssignment) -> Publication:
        """Take an assignment's next outcome; only while it has ``publishable_records``."""
        if not self._is_open:
            self._left_before_closed[assignment] -= 1
        # Last in turn from here on, so that no partition waits for the end of another's outcomes.
        waiting = self._waiting.pop(assignment)
        publication = waiting.popleft()
        if waiting:
            self._waiting[assignment] = waiting
        return publication

    def remove(self, assignment: PartitionAssignment) -> list[Publication]:
        """Take out what waits of an assignment that is over."""
        self._left_before_closed.pop(assignment, None)
        return list(self._waiting.pop(assignment, ()))
