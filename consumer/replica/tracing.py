"""Opens the traces of a consumer replica, where its environment asks for them."""

import os
import random
from dataclasses import dataclass

from ray.util.metrics import Counter

from consumer.engine.tracing.traces import Traces
from handoff.clock import Clock
from handoff.tracing.opening import OpenSink, find_tracing, open_sink_or_say
from handoff.tracing.sampling import Sampler, Sampling
from handoff.tracing.spans import Ids
from schemas.metrics import TRACE_SPANS
from schemas.settings.file import RouteSettings


@dataclass(frozen=True, slots=True)
class OpenTraces:
    traces: Traces
    sink: OpenSink

    async def close(self) -> None:
        await self.sink.close()


def open_traces(route: RouteSettings, *, replica: str, clock: Clock) -> OpenTraces | None:
    """Return the traces of this replica; ``None`` if it has none, or cannot send them."""
    tracing = find_tracing()
    if tracing is None:
        return None
    # Guards nothing: ids must differ, and nobody has to guess them.
    source = random.Random()  # noqa: S311 - see above
    sampling = Sampling.of(tracing.settings.sample_ratio, os.environ)
    counter = Counter(TRACE_SPANS.registered, TRACE_SPANS.help, TRACE_SPANS.labels)

    def count(outcome: str, spans: int) -> None:
        counter.inc(spans, {"outcome": outcome})

    sink = open_sink_or_say(tracing, instance=replica, clock=clock, count=count)
    if sink is None:
        return None
    traces = Traces(
        model=route.model,
        group=route.group,
        sampler=Sampler(sampling, tracing.settings.max_records_per_s, source),
        ids=Ids(source),
        sink=sink,
    )
    return OpenTraces(traces, sink)
