"""Publications as the flat list of messages that a sink takes, and its rejections back."""

import logging
from collections.abc import Iterable, Mapping, Sequence

from consumer.engine.outcomes.outbox import Publication
from consumer.ports import Message, Rejection

log = logging.getLogger(__name__)

Owner = tuple[Publication, int]
"""A publication, and the position of a message in it."""


class UnpublishableError(RuntimeError):
    """The dead-letter topic takes no dead letter of any record: to go on would lose them all.

    Args:
        publication: An outcome that it refused in every form.
        refused: Why, by index of its message.
    """

    def __init__(self, publication: Publication, refused: Mapping[int, Rejection]) -> None:
        record = publication.item.record
        reasons = "; ".join(each.reason for each in refused.values())
        super().__init__(
            f"{record.partition} offset {record.offset}: not even the smallest dead letter can be "
            f"published, so the route stands still rather than lose records: {reasons}"
        )


class RefusalLog:
    """Says what topics refuse: each topic once as a warning, as there may be many."""

    def __init__(self) -> None:
        self._warned_of: set[str] = set()

    def note(self, publication: Publication, refused: Mapping[int, Rejection]) -> None:
        """Log the refusals of an outcome's messages, by index, before others take their place."""
        record = publication.item.record
        for index, rejection in refused.items():
            topic = publication.messages[index].topic
            level = logging.INFO if topic in self._warned_of else logging.WARNING
            self._warned_of.add(topic)
            log.log(level, "%s offset %d: %s", record.partition, record.offset, rejection.reason)


def flatten(publications: Iterable[Publication]) -> tuple[list[Owner], list[Message]]:
    """Return all messages, and whose each is."""
    owners: list[Owner] = []
    messages: list[Message] = []
    for publication in publications:
        for index, message in enumerate(publication.messages):
            owners.append((publication, index))
            messages.append(message)
    return owners, messages


def by_publication(
    owners: Sequence[Owner], rejections: Iterable[Rejection]
) -> dict[int, dict[int, Rejection]]:
    """Return messages' rejections, by ``id`` of their publication and index in it."""
    refused: dict[int, dict[int, Rejection]] = {}
    for rejection in rejections:
        publication, index = owners[rejection.index]
        refused.setdefault(id(publication), {})[index] = rejection
    return refused
