"""Spans as plain values. Pure: callers know the times already."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from schemas.wire.headers import Headers
from schemas.wire.trace_context import with_trace_context

AttributeValue = str | int | float | bool | tuple[str, ...]
Attributes = Mapping[str, AttributeValue]
Kind = Literal["internal", "server", "client", "producer", "consumer"]

MOST_LINKS = 128
"""Of one span: OpenTelemetry's own limit."""


class SpanContext(NamedTuple):
    """A span of a trace that is sampled; others have none. ``state`` is its ``tracestate``."""

    trace_id: int
    span_id: int
    state: str = ""

    def on(self, headers: Headers) -> Headers:
        """Return a record's headers that name this span, and no other."""
        return with_trace_context(headers, *self)


@dataclass(slots=True, kw_only=True)
class Span:
    """A span that has ended; times are monotonic seconds of the process.

    Attributes:
        parent: ``None`` for the first span of a trace.
        links: Spans that it has to do with, of this trace or of others.
        error: Why it failed, for people; ``None`` if it did not.
    """

    name: str
    kind: Kind
    context: SpanContext
    parent: SpanContext | None
    start_s: float
    end_s: float
    attributes: Attributes = field(default_factory=dict)
    links: Sequence[SpanContext] = ()
    error: str | None = None


class SpanSink(Protocol):
    """Takes spans that have ended. Never raises, never waits."""

    def take(self, spans: Iterable[Span]) -> None: ...


class Ids:
    """Ids of traces and spans; ``source`` draws them."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def new_span_id(self) -> int:
        return self._source.getrandbits(64) or 1

    def child_of(self, parent: SpanContext) -> SpanContext:
        return SpanContext(parent.trace_id, self.new_span_id(), parent.state)
