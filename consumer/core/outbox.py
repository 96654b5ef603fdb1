"""Decided outcomes on their way to the broker."""

from collections import deque
from dataclasses import dataclass

from consumer.core.ports import Message
from consumer.core.work import WorkItem


@dataclass(eq=False, slots=True)
class Publication:
    """One record's outcome; the record is complete when all its messages are acknowledged.

    Attributes:
        item: The record's work.
        messages: What to publish.
        substituted: The messages stand in for ones that the broker refused.
    """

    item: WorkItem
    messages: list[Message]
    substituted: bool = False


class Outbox:
    """First decided, first published.

    It starts closed, and closes around rebalances: an outcome published while the partition may
    be going could be published by its new owner too.
    """

    def __init__(self) -> None:
        self._waiting: deque[Publication] = deque()
        self._is_open = False
        self._left_before_closed = 0

    def add(self, publication: Publication) -> None:
        """Queue an outcome."""
        self._waiting.append(publication)

    def open(self) -> None:
        """Let everything through."""
        self._is_open = True

    def close(self, *, let_out_waiting: bool) -> None:
        """Let out what waits now, or nothing, and hold what is added from here on."""
        self._is_open = False
        self._left_before_closed = len(self._waiting) if let_out_waiting else 0

    @property
    def has_publishable(self) -> bool:
        """Whether anything may be taken."""
        return bool(self._waiting) and (self._is_open or self._left_before_closed > 0)

    def take(self) -> Publication:
        """Take the next outcome; only while ``has_publishable``."""
        if not self._is_open:
            self._left_before_closed -= 1
        return self._waiting.popleft()
