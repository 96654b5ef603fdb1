"""Publications as the flat list of messages that a sink takes, and its rejections back."""

from collections.abc import Iterable, Mapping, Sequence

from consumer.core.outbox import Publication
from consumer.core.ports import Message, Rejection

Owner = tuple[Publication, int]
"""A publication, and the position of a message in it."""


class UnpublishableError(RuntimeError):
    """Neither an outcome nor the small message in its place can be published.

    Args:
        publication: The outcome.
        reasons: Why, by index of its message.
    """

    def __init__(self, publication: Publication, reasons: Mapping[int, str]) -> None:
        record = publication.item.record
        super().__init__(
            f"neither an outcome of {record.partition} offset {record.offset} nor its small "
            f"substitute can be published: {'; '.join(reasons.values())}"
        )


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
) -> dict[int, dict[int, str]]:
    """Return why messages were rejected, by ``id`` of their publication and index in it."""
    refused: dict[int, dict[int, str]] = {}
    for rejection in rejections:
        publication, index = owners[rejection.index]
        refused.setdefault(id(publication), {})[index] = rejection.reason
    return refused
