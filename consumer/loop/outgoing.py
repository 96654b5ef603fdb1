"""What both ways to publish share: an outcome's messages, and what topics refuse of them."""

import logging
from collections.abc import Iterable

from consumer.engine.work import WorkItem
from consumer.ports import Message, Rejection

log = logging.getLogger(__name__)


class UnpublishableError(RuntimeError):
    """The dead-letter topic takes no dead letter of any record: to go on would lose them all.

    Args:
        item: Its outcome was refused in every form.
        rejections: Why, for each of its messages.
    """

    def __init__(self, item: WorkItem, rejections: Iterable[Rejection]) -> None:
        record = item.record
        reasons = "; ".join(each.reason for each in rejections)
        super().__init__(
            f"{record.partition} offset {record.offset}: not even the smallest dead letter can be "
            f"published, so the route stands still rather than lose records: {reasons}"
        )


class RefusalLog:
    """Says what topics refuse: each topic once as a warning, as there may be many."""

    def __init__(self) -> None:
        self._warned_of: set[str] = set()

    def note(self, item: WorkItem, rejections: Iterable[Rejection]) -> None:
        """Log why messages of an outcome are refused, before others take their place."""
        record = item.record
        for rejection in rejections:
            topic = rejection.message.topic
            level = logging.INFO if topic in self._warned_of else logging.WARNING
            self._warned_of.add(topic)
            log.log(level, "%s offset %d: %s", record.partition, record.offset, rejection.reason)


def messages_of(items: Iterable[WorkItem]) -> list[Message]:
    """Return all messages of outcomes, in their order."""
    return [message for item in items for message in item.messages]
