"""W3C trace context: the headers ``traceparent`` and ``tracestate``. Pure.

https://www.w3.org/TR/trace-context/
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from schemas.wire.headers import TRACEPARENT, TRACESTATE, Header, Headers

_SAMPLED = 0x01
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_UNSAMPLED = re.compile(
    rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]"
).fullmatch
_MEMBER = rb"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_TRACESTATE = re.compile(_MEMBER + rb"([ \t]*,[ \t]*(" + _MEMBER + rb")?){0,31}[ \t]*")
_MOST_STATE_BYTES = 512
"""A participant has to pass on as much; a longer one may be left out."""
_FIRST_VERSION = b"00"
_NO_VERSION = b"ff"


class TraceContext(NamedTuple):
    """A span, as another service names it; ``raw_state`` is the header ``tracestate``."""

    trace_id: int
    span_id: int
    is_sampled: bool
    raw_state: bytes | None = None

    def state(self) -> str:
        """Return what to pass on of ``tracestate``: nothing if it is malformed, or too long."""
        raw = self.raw_state
        if raw is None or len(raw) > _MOST_STATE_BYTES or not _TRACESTATE.fullmatch(raw):
            return ""
        return raw.decode()


UNSAMPLED = TraceContext(0, 0, is_sampled=False)
"""Of a record whose producer does not sample, whatever its ids are."""


def read_trace_context(headers: Iterable[Header], *, needs_ids: bool = True) -> TraceContext | None:
    """Return the context that a record came with; ``None`` for none, or one that is malformed.

    A malformed ``tracestate`` counts as absent. The last header of a name counts. Without
    ``needs_ids`` what is not sampled may come as ``UNSAMPLED``, which costs a quarter.
    """
    parent = state = None
    for name, value in headers:
        if name == TRACEPARENT:
            parent = value
        elif name == TRACESTATE:
            state = value
    if not parent:
        return None
    return UNSAMPLED if not needs_ids and _UNSAMPLED(parent) else parse_trace_context(parent, state)


def parse_trace_context(parent: bytes, state: bytes | None = None) -> TraceContext | None:
    """Return the context of the headers' values; ``None`` if ``parent`` is malformed."""
    match = _TRACEPARENT.fullmatch(parent)
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == _NO_VERSION or (version == _FIRST_VERSION and more is not None):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), state)


def encode_traceparent(trace_id: int, span_id: int) -> str:
    """Return the ``traceparent`` of a sampled span."""
    return f"00-{trace_id:032x}-{span_id:016x}-01"


def with_trace_context(headers: Headers, trace_id: int, span_id: int, state: str) -> Headers:
    """Return headers that name this span, and no other."""
    found = [each for each in headers if each[0] not in {TRACEPARENT, TRACESTATE}]
    found.append((TRACEPARENT, encode_traceparent(trace_id, span_id).encode()))
    if state:
        found.append((TRACESTATE, state.encode()))
    return found
