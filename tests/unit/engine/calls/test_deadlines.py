"""Deadlines of records that have been tried already."""

import orjson
import pytest

from consumer.engine.failures.isolation import Isolation
from consumer.engine.offsets import completion_map
from consumer.ports import OffsetAndMetadata
from tests.engines import P0, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS


def test_what_waits_for_another_try_expires_at_its_deadline() -> None:
    engine = make_engine(max_attempts=9)
    engine.assign({P0: None})
    due = [("headrace-deadline", b"%d" % (EPOCH_MS + 30_000))]
    engine.deliver([record(0, headers=due)], 0.0, EPOCH_MS)
    for now_s in (0.0, 10.0, 20.0):  # three in a row: the model counts as down
        engine.advance(now_s, EPOCH_MS + int(now_s * 1000))
        call, _ = next_call(engine, now_s, EPOCH_MS + int(now_s * 1000))
        engine.end_call(call, "lost", now_s, EPOCH_MS + int(now_s * 1000))
    engine.advance(29.999, EPOCH_MS + 29_999)
    assert engine.held_records == 1
    assert not engine.has_publications
    engine.advance(30.0, EPOCH_MS + 30_000)
    (publication,) = publish_all(engine)
    assert orjson.loads(publication.messages[0].value or b"")["error"]["code"] == "request_expired"
    assert engine.next_call(60.0, EPOCH_MS + 60_000) is None
    assert engine.held_records == engine.queued_records == 0


def test_what_an_earlier_owner_tried_expires_at_its_deadline() -> None:
    engine = make_engine()
    metadata = completion_map.encode(
        0, completion_map.CompletionMap(0, (), (completion_map.RecordFailures(0, 2, 1),))
    )
    engine.assign({P0: OffsetAndMetadata(0, metadata)})
    due = [("headrace-deadline", b"%d" % (EPOCH_MS + 500))]
    engine.deliver([record(0, headers=due)], 0.0, EPOCH_MS)
    engine.advance(0.5, EPOCH_MS + 500)
    assert len(publish_all(engine)) == engine.counters.expired_records == 1


def test_what_fails_after_its_deadline_is_not_tried_again() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    due = [("headrace-deadline", b"%d" % (EPOCH_MS + 500))]
    engine.deliver([record(0, headers=due)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    engine.advance(0.5, EPOCH_MS + 500)
    assert not engine.has_publications  # the model replica holds it to its deadline
    engine.end_call(call, "lost", 0.6, EPOCH_MS + 600)
    assert len(publish_all(engine)) == engine.counters.expired_records == 1
    assert engine.counters.retried_records == 0


def test_a_deadline_that_passes_costs_the_same_however_many_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_through: list[Isolation] = []
    monkeypatch.setattr(Isolation, "drop_decided", looked_through.append)
    engine = make_engine()
    engine.assign({P0: None})
    dues = [[("headrace-deadline", b"%d" % (EPOCH_MS + n))] for n in range(1, 501)]
    engine.deliver([record(n, headers=due) for n, due in enumerate(dues)], 0.0, EPOCH_MS)
    for ms in range(1, 501):
        engine.advance(ms / 1000, EPOCH_MS + ms)
        assert engine.queued_records == 500 - ms
        assert len(publish_all(engine)) == 1
    assert looked_through == []
    assert engine.next_call(1.0, EPOCH_MS + 1_000) is None
