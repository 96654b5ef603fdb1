"""What a caller hands to a model replica, and what streams back.

Both are columns and not lists of objects: one handle call carries a few hundred records, and a list
of ``bytes`` pickles many times faster than a list of instances.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from handoff.tracing.spans import SpanContext

STATUS_OK = 200
STATUS_EXPIRED = 408
"""The record's deadline passed before its answer; a generation under way was ended."""
STATUS_LOST = 502
"""A replica behind this one was lost with the record, which another may answer: as if the call had
failed, for this record alone."""
STATUS_UNAVAILABLE = 503
"""The replica has no room or is not ready: send the record again later; nothing counts."""
STATUS_UNRECOVERABLE = 501
"""The model failed on this record and would fail again: do not retry."""
STATUS_FAILED = 500
"""From here up the model failed, not the request: the record may be retried."""

CARRIED_WITHIN_S = 20.0
"""A call that has ended waits this long for outcomes that come in another call's stream. They come
later only if they are large, and a stream that breaks is rare."""


@dataclass(slots=True)
class Chunk:
    """Request records for one handle call.

    Attributes:
        consumer: Identifies the caller, so that a model replica can divide its window.
        lines: One request line each: the record's value as published (UTF-8 JSON), without a byte
            order mark or a schema registry's frame, and with its url spelled as in the settings of
            the model.
        deadlines_ms: Epoch milliseconds by which to answer each record, or ``None``; empty if no
            record of the chunk has a deadline.
        wanted_records: The caller's demand: how many records it would have in flight at this
            replica, with these. ``None`` is no limit.
        max_body_bytes: The largest response body that the caller can publish; 0 is no limit.
        call: The caller's number of this call, from 1, by which it cancels records. A numbered
            call's outcomes may come in the streams of the caller's other calls at the replica; 0 if
            the caller reads each stream by itself.
        traces: The callers' spans of the records that are sampled, by their index; ``None`` where
            none is.
    """

    consumer: str
    lines: list[bytes]
    deadlines_ms: list[int | None] = field(default_factory=list)
    wanted_records: int | None = None
    max_body_bytes: int = 0
    call: int = 0
    traces: dict[int, SpanContext] | None = None

    def deadline_ms(self, index: int) -> int | None:
        return self.deadlines_ms[index] if self.deadlines_ms else None


@dataclass(slots=True)
class Outcomes:
    """Outcomes of some of a chunk's records, in the order they finished.

    One list may carry what several calls of a caller have gathered, because each list that a call
    streams costs Ray Serve about 0.4 ms.

    Attributes:
        replica: Identifies the model replica.
        window_records: The window that the replica grants this caller; 0 leaves it unchanged.
        indexes: Positions in the chunk; over a whole stream each position comes exactly once.
        statuses: HTTP status of each outcome: ``STATUS_OK``, a 4xx if the endpoint refuses the
            body, ``STATUS_EXPIRED``, or ``STATUS_FAILED`` and above if the model failed.
        bodies: The ``response.body`` of each result line, as UTF-8 JSON.
        measured_records: How many of them had their tokens counted; 0 for a model without tokens.
        measured_tokens: Tokens read and generated for those.
        is_working: The replica's own watchdog has seen the model work on what is unanswered, so a
            call that is silent for long does not hang. Replicas that cannot tell leave it out.
        others: Outcomes of the caller's other calls at this replica, by the number of the call.
        elsewhere: How many of the call's own outcomes went with other calls, which may come later
            than the end of this stream; in the call's last list.
    """

    replica: str
    window_records: int
    indexes: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    measured_records: int = 0
    measured_tokens: int = 0
    is_working: bool = False
    others: "dict[int, Outcomes]" = field(default_factory=dict)
    elsewhere: int = 0

    def add(self, index: int, status: int, body: bytes, tokens: int | None = None) -> None:
        if tokens is not None:
            self.measured_records += 1
            self.measured_tokens += tokens
        self.indexes.append(index)
        self.statuses.append(status)
        self.bodies.append(body)


class ChunkModel(Protocol):
    """A model that answers chunks; the settings may name any class with this method."""

    def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream the outcomes of a chunk's records, each record exactly once."""
        ...


class CancellableModel(ChunkModel, Protocol):
    """A model as callers see it: all its replicas, behind one handle."""

    async def cancel(self, consumer: str, records: Mapping[int, Sequence[int]]) -> None:
        """Free what records use in the replicas that have them.

        The replica answers them at once, by ``STATUS_UNAVAILABLE`` if nothing else, so that their
        calls go on for the others. ``consumer`` and the numbers of the calls are those of the
        chunks; for each call the positions in its chunk. Unknown ones do not matter.
        """
        ...
