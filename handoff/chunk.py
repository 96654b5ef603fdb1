"""What a consumer hands to a model replica and what streams back.

Both are columns rather than lists of objects: one handle call carries a few hundred records, and a
list of ``bytes`` pickles many times faster than a list of instances.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

STATUS_OK = 200
STATUS_EXPIRED = 408
"""The record's deadline passed before its answer was there; a generation under way is ended."""
STATUS_UNAVAILABLE = 503
"""The replica has no room or is not ready: send it again later; no fault of the record."""
STATUS_UNRECOVERABLE = 501
"""The model failed on this record and would fail again: give it up at once."""
STATUS_FAILED = 500
"""From here up the model failed, not the request: the consumer may dispatch the record again."""


@dataclass(slots=True)
class Chunk:
    """Request records for one handle call.

    Attributes:
        consumer: Identifies the consumer replica, so that a model replica can divide its window.
        lines: One request line each, the record's value as it was published (UTF-8 JSON), save that
            its url is spelled as the model's settings spell it, and that no byte order mark or
            schema registry's frame stands before it.
        deadlines_ms: Epoch milliseconds by which each record must be answered, or ``None``; empty
            where no record of the chunk has a deadline.
        wanted_records: How many records the consumer would have in flight at this replica if it
            might, these included: its part of all that waits or is in flight. ``None`` is no
            limit.
        max_body_bytes: The most bytes of a response body that the consumer can publish; 0 where it
            does not say.
    """

    consumer: str
    lines: list[bytes]
    deadlines_ms: list[int | None] = field(default_factory=list)
    wanted_records: int | None = None
    max_body_bytes: int = 0

    def deadline_ms(self, index: int) -> int | None:
        """Return the deadline of record ``index`` in epoch milliseconds, if it has one."""
        return self.deadlines_ms[index] if self.deadlines_ms else None


@dataclass(slots=True)
class Outcomes:
    """Outcomes of some of a chunk's records, in the order they finished.

    Attributes:
        replica: Identifies the model replica that computed them; empty where this only says that
            the call was accepted.
        window_records: How many records that replica wants in flight from this consumer; 0 leaves
            it as it was.
        indexes: Positions in the chunk; over a whole stream each position comes exactly once.
        statuses: HTTP status of each outcome: ``STATUS_OK``, a 4xx where the endpoint refuses the
            body, ``STATUS_EXPIRED``, or ``STATUS_FAILED`` and above where the model failed.
        bodies: The ``response.body`` of each result line, as UTF-8 JSON.
        measured_records: How many of them had their tokens counted; 0 of a model without tokens.
        measured_tokens: Tokens that those read and generated.
    """

    replica: str
    window_records: int
    indexes: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    measured_records: int = 0
    measured_tokens: int = 0

    def add(self, index: int, status: int, body: bytes, tokens: int | None = None) -> None:
        """Append one record's outcome, with the tokens that it took, if they were counted."""
        if tokens is not None:
            self.measured_records += 1
            self.measured_tokens += tokens
        self.indexes.append(index)
        self.statuses.append(status)
        self.bodies.append(body)


class ChunkModel(Protocol):
    """What a model replica offers; a settings file may name any class that has this method."""

    def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream the outcomes of a chunk's records, each record exactly once."""
        ...
