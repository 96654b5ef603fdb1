"""An engine that has worked on two records, and has counted everything that it can count."""

from dataclasses import fields

from consumer.engine.engine import Engine
from tests.engines import P0, answer, make_engine, next_call, record
from tests.simulation import EPOCH_MS


def worked_engine() -> Engine:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(0), record(1)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.2, EPOCH_MS)
    answer(call, chunk, engine, now_s=1.0)
    items = engine.take_publications(10, 1 << 20)
    engine.timings.published(items, 1.0, EPOCH_MS + 2_000)
    engine.timings.committing.observe(0.01)
    engine.acknowledged(items)
    engine.events.published.acknowledged(2, 100)
    engine.progress.note_log_ends({P0: 5}, 1.0)
    for counts in (engine.counters, engine.events, engine.events.published):
        for field in fields(counts):
            setattr(counts, field.name, getattr(counts, field.name) or 1)
    return engine
