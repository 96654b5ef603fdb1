"""A record that waits for a look-up, and how it goes on then."""

from typing import NamedTuple

from consumer.engine.work import WorkItem
from schemas.wire.references import RequestBodyReference


class WaitingRecord(NamedTuple):
    """``url`` and ``reference`` are of a body that is fetched first."""

    item: WorkItem
    url: str = ""
    reference: RequestBodyReference | None = None
