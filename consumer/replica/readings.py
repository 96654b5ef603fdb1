"""What a consumer replica's metrics read now. Pure: an adapter hands them to Ray."""

from collections.abc import Iterator
from dataclasses import dataclass

from consumer.engine.engine import Engine
from handoff.histogram import Histogram
from schemas.metrics import EVENTS, RECORDS

_TIMES = ("waiting", "model", "publishing", "end_to_end", "committing")


@dataclass(frozen=True, slots=True)
class Readings:
    """Values by the metrics' names in ``schemas.metrics``; a gauge without a value is left out."""

    counters: dict[str, int]
    gauges: dict[str, float]
    histograms: dict[str, Histogram]


def read_engine(engine: Engine, now_s: float, *, paused_s: float = 0.0) -> Readings:
    counters = {each.name: getattr(engine.counters, each.name) for each in RECORDS}
    counters |= {each.name: getattr(engine.events, each.name) for each in EVENTS}
    return Readings(
        counters=counters,
        gauges={**dict(_gauges(engine, now_s)), "paused_seconds": paused_s},
        histograms={f"{name}_seconds": getattr(engine.timings, name) for name in _TIMES},
    )


def _gauges(engine: Engine, now_s: float) -> Iterator[tuple[str, float]]:
    yield "in_flight_records", engine.in_flight_records
    yield "queued_records", engine.queued_records
    yield "held_records", engine.held_records
    yield "held_bytes", engine.held_bytes
    yield "oldest_record_seconds", engine.backlog.oldest_s(now_s)
    yield "assigned_partitions", len(engine.partitions)
    yield "admission_closed", not engine.reads_on
    yield "breaker_open", engine.calls.is_breaker_open
    yield "suspended", engine.is_suspended
    yield "model_replicas", len(engine.calls.windows.replicas)
    yield "rate_limited", engine.is_limited(now_s) or False
    counters = engine.counters
    if counters.measured_records:
        yield "tokens_per_record", counters.measured_tokens / counters.measured_records
