"""What a consumer's report says of its engine."""

from consumer.engine.engine import Engine
from consumer.ports import Record
from consumer.replica.engine_report import EngineReport
from consumer.replica.reports import REPORTED_TIMES, ReplicaSnapshot
from tests.engines import P0, answer, line, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS


def deliver(engine: Engine, *records: Record) -> None:
    engine.assign({P0: None})
    engine.deliver(list(records), 0.0, EPOCH_MS)


def test_a_report_has_what_an_engine_holds_and_how_long() -> None:
    engine, report = make_engine(max_records=2), EngineReport()
    assert report.of(engine, 0.0)["admission_closed_s"] is None
    deliver(engine, record(0, line("a")), record(1, line("b")))
    assert report.of(engine, 0.0)["admission_closed_s"] == 0.0

    found = report.of(engine, 7.0)

    assert (found["held_records"], found["most_records"]) == (2, 2)
    assert found["held_bytes"] > 0
    assert (found["admission_closed_s"], found["oldest_s"]) == (7.0, 7.0)
    assert not found["is_breaker_open"]
    assert not found["is_suspended"]
    assert set(found["times"]) == set(REPORTED_TIMES)
    snapshot = ReplicaSnapshot(route="r", replica="a", **found)
    assert ReplicaSnapshot.from_dict(snapshot.to_dict()) == snapshot

    call, chunk = next_call(engine, 7.0, EPOCH_MS)
    answer(call, chunk, engine, now_s=8.0)
    publish_all(engine)
    assert report.of(engine, 7.0)["admission_closed_s"] is None
    assert sum(report.of(engine, 7.0)["times"]["model"]) == 2
    assert report.of(engine, 7.0)["window_records"] > 0


def test_dead_letters_are_counted_by_their_error_code() -> None:
    engine = make_engine()
    deliver(engine, record(0, b"not json"), record(1, b"nor this"), record(2, b"{}"))

    found = EngineReport().of(engine, 0.0)["dead_letters_by_reason"]

    assert found == {"invalid_json": 2, "invalid_request_line": 1}
    assert sum(found.values()) == engine.counters.dead_letter_records
