"""Opens the traces of a model's replica, where its environment asks for them."""

import random
from functools import cache

from ray.util.metrics import Counter

from handoff.clock import Clock
from handoff.tracing.opening import OpenSink, find_tracing, open_sink_or_say
from handoff.tracing.spans import Ids
from schemas.metrics import TRACE_SPANS
from serve_models.chunks.traces import ReplicaTraces

_open: list[OpenSink] = []


@cache
def replica_traces(replica: str, clock: Clock) -> ReplicaTraces | None:
    """Return the traces of this process; ``None`` if it has none, or cannot send them."""
    tracing = find_tracing()
    if tracing is None:
        return None
    counter = Counter(TRACE_SPANS.registered, TRACE_SPANS.help, TRACE_SPANS.labels)

    def count(outcome: str, spans: int) -> None:
        counter.inc(spans, {"outcome": outcome})

    sink = open_sink_or_say(tracing, instance=replica, clock=clock, count=count)
    if sink is None:
        return None
    _open.append(sink)
    # Guards nothing: ids must differ, and nobody has to guess them.
    ids = Ids(random.Random())  # noqa: S311 - see above
    return ReplicaTraces(
        sink, ids, clock, replica=replica, model=tracing.model, operation=tracing.operation
    )


async def close_traces() -> None:
    """Send the spans that wait, within a few seconds."""
    while _open:
        await _open.pop().close()
