"""What a consumer replica's metrics read now. Pure: an adapter hands them to Ray."""

from collections.abc import Iterator, Mapping

from consumer.engine.engine import Engine
from handoff.exporting import Key, Readings
from schemas.metrics import EVENTS, PUBLISHING, RECORDS, TIMES

_PUBLISHED = [each.name for each in PUBLISHING if each.kind == "counter"]


def read_engine(
    engine: Engine, now_s: float, epoch_ms: int, of_replica: Mapping[Key, float] | None = None
) -> Readings:
    """Read all metrics of a consumer; ``of_replica``: gauges beside the engine's."""
    counters: dict[Key, float] = {
        "received_bytes": engine.counters.received_bytes,
        **{each.name: getattr(engine.counters, each.name) for each in RECORDS},
        **{each.name: getattr(engine.events, each.name) for each in EVENTS},
        **{name: getattr(engine.events.published, name) for name in _PUBLISHED},
    }
    return Readings(
        counters=counters,
        gauges={**dict(_gauges(engine, now_s, epoch_ms)), **(of_replica or {})},
        histograms={
            **{
                each.name: getattr(engine.timings, each.name.removesuffix("_seconds"))
                for each in TIMES
            },
            "chunk_records": engine.timings.chunk_records,
            "published_batch_records": engine.events.published.batch_records,
        },
    )


def _gauges(engine: Engine, now_s: float, epoch_ms: int) -> Iterator[tuple[Key, float]]:
    held_s, age_s = engine.backlog.ages_s(now_s, epoch_ms)
    yield "in_flight_records", engine.in_flight_records
    yield "queued_records", engine.queued_records
    yield "waiting_jobs", engine.calls.waiting_jobs
    yield "held_records", engine.held_records
    yield "held_bytes", engine.held_bytes
    yield "oldest_record_seconds", held_s
    yield "assigned_partitions", len(engine.partitions)
    yield "admission_closed", not engine.reads_on
    yield "breaker_open", engine.calls.is_breaker_open
    yield "suspended", engine.is_suspended
    yield "model_replicas", len(engine.calls.windows.replicas)
    yield "completion_map_ratio", engine.log_ends.map_ratio
    yield "full_map_partitions", engine.log_ends.full_map_partitions
    yield "rate_limited", engine.is_limited(now_s) or False
    counters = engine.counters
    backlog = engine.log_ends.backlog(now_s)
    yield "lag_seconds", max(age_s, 0.0 if backlog is None else backlog.unread_s)
    if backlog is not None:
        yield "lag_records", backlog.lag_records
        yield "remaining_records", backlog.remaining_records
    if counters.measured_records:
        tokens_per_record = counters.measured_tokens / counters.measured_records
        yield "tokens_per_record", tokens_per_record
        if backlog is not None:
            yield "remaining_tokens", backlog.remaining_records * tokens_per_record
