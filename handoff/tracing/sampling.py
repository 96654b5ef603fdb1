"""Which traces are sampled. Pure."""

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass

from handoff.tracing.spans import Ids, SpanContext
from schemas.wire.trace_context import TraceContext

log = logging.getLogger(__name__)

SAMPLER_VARIABLE = "OTEL_TRACES_SAMPLER"
ARGUMENT_VARIABLE = "OTEL_TRACES_SAMPLER_ARG"
DEFAULT_RATIO = 0.01
"""OpenTelemetry's own is 1, which is too much for a backlog: to export a trace costs several times
what a record costs."""

_RATIO_SPACE = 1 << 64
_BY_RATIO = "traceidratio"
_SAMPLERS: Mapping[str, float | None] = {"always_on": 1.0, "always_off": 0.0, _BY_RATIO: None}
_PARENT_BASED = "parentbased_"


@dataclass(frozen=True, slots=True)
class Sampling:
    """A rule for traces, as OpenTelemetry's samplers have it.

    Attributes:
        ratio: Of the traces that begin here, 0 to 1; without ``follows_parent`` of all.
        follows_parent: Whether a record that comes with a context is sampled as that says.
    """

    ratio: float
    follows_parent: bool = True

    @classmethod
    def of(cls, sample_ratio: float | None, environment: Mapping[str, str]) -> "Sampling":
        """Return the settings' rule, else the environment's, else one in a hundred.

        Values of ``OTEL_TRACES_SAMPLER`` that OpenTelemetry does not define are left out with a
        warning.
        """
        name = environment.get(SAMPLER_VARIABLE, "").strip().lower()
        if sample_ratio is not None or not name:
            return cls(DEFAULT_RATIO if sample_ratio is None else sample_ratio)
        kind = name.removeprefix(_PARENT_BASED)
        if kind not in _SAMPLERS:
            log.warning(
                "%s: there is no sampler %r; parentbased_traceidratio with %g is taken",
                SAMPLER_VARIABLE,
                name,
                DEFAULT_RATIO,
                extra={"event": "sampler_unknown"},
            )
            return cls(DEFAULT_RATIO)
        ratio = _SAMPLERS[kind]
        if ratio is None:
            ratio = _ratio_of(environment.get(ARGUMENT_VARIABLE, ""))
        return cls(ratio, follows_parent=name != kind)


def _ratio_of(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if 0 <= ratio <= 1:
        return ratio
    log.warning(
        "%s: %r is no ratio from 0 to 1; 1 is taken",
        ARGUMENT_VARIABLE,
        text,
        extra={"event": "sampler_unknown"},
    )
    return 1.0


class Sampler:
    """Decides once for each record whether it has spans.

    Args:
        sampling: The rule.
        most_per_s: The most records of a second that are sampled, whatever their producers say: a
            span costs more than a record.
        source: Draws ids.

    Attributes:
        follows_parent: As ``Sampling`` has it.
        passed_over: Records that were not sampled for ``most_per_s`` alone.
    """

    def __init__(self, sampling: Sampling, most_per_s: int, source: random.Random) -> None:
        self._source = source
        self._ids = Ids(source)
        self._bound = round(sampling.ratio * _RATIO_SPACE)
        self.follows_parent = sampling.follows_parent
        self._most_per_s = most_per_s
        self._second = 0
        self._sampled = 0
        self.passed_over = 0

    def begin(self, parent: TraceContext | None, now_s: float) -> SpanContext | None:
        """Return a new span for a record that came with ``parent``, if it is sampled."""
        if parent is None:
            low = self._source.getrandbits(64)
            if low >= self._bound or not self._has_room(now_s):
                return None
            trace_id = (self._source.getrandbits(64) << 64 | low) or 1
            return SpanContext(trace_id, self._ids.new_span_id())
        if self.follows_parent:
            is_sampled = parent.is_sampled
        else:
            is_sampled = parent.trace_id % _RATIO_SPACE < self._bound
        if not is_sampled or not self._has_room(now_s):
            return None
        return SpanContext(parent.trace_id, self._ids.new_span_id(), parent.state())

    def _has_room(self, now_s: float) -> bool:
        second = int(now_s)
        if second != self._second:
            self._second, self._sampled = second, 0
        if self._sampled >= self._most_per_s:
            self.passed_over += 1
            return False
        self._sampled += 1
        return True
