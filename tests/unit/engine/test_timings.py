"""What the engine notes of the times of records."""

import pytest

from consumer.engine.engine import Engine
from handoff.chunk import STATUS_FAILED
from tests.engines import P0, answer, make_engine, next_call, record
from tests.simulation import EPOCH_MS


def assigned() -> Engine:
    engine = make_engine()
    engine.assign({P0: None})
    return engine


def test_each_part_of_a_records_way_is_measured() -> None:
    engine = assigned()
    engine.deliver([record(0), record(1)], 10.0, EPOCH_MS)
    engine.deliver([record(2)], 11.0, EPOCH_MS)
    call, chunk = next_call(engine, 12.0, EPOCH_MS)
    answer(call, chunk, engine, now_s=15.0)
    items = engine.take_publications(10, 1 << 20)
    engine.timings.published(items, 15.5, EPOCH_MS + 7_000)
    engine.acknowledged(items)

    timings = engine.timings
    assert timings.waiting.count == 3
    assert timings.waiting.total == pytest.approx(2.0 + 2.0 + 1.0)
    assert timings.model.total == pytest.approx(3 * 3.0)
    assert timings.publishing.total == pytest.approx(3 * 0.5)
    assert timings.end_to_end.total == pytest.approx(3 * 7.0)
    assert timings.end_to_end.count == 3


def test_only_the_first_call_ends_the_waiting() -> None:
    engine = assigned()
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 1.0, EPOCH_MS)
    answer(call, chunk, engine, status=STATUS_FAILED, now_s=2.0)
    engine.advance(60.0, EPOCH_MS)
    call, chunk = next_call(engine, 60.0, EPOCH_MS)
    answer(call, chunk, engine, now_s=61.0)

    assert engine.timings.waiting.count == 1
    assert engine.timings.waiting.total == pytest.approx(1.0)
    assert engine.timings.model.count == 2


def test_the_oldest_record_is_the_one_that_was_read_first_and_has_no_outcome() -> None:
    engine = assigned()
    assert engine.backlog.oldest_s(5.0) == 0.0
    engine.deliver([record(0)], 10.0, EPOCH_MS)
    engine.deliver([record(1)], 12.0, EPOCH_MS)
    assert engine.backlog.oldest_s(20.0) == pytest.approx(10.0)

    call, chunk = next_call(engine, 20.0, EPOCH_MS)
    assert engine.backlog.oldest_s(21.0) == pytest.approx(11.0)
    answer(call, chunk, engine, now_s=22.0)
    assert engine.backlog.oldest_s(30.0) == 0.0
