"""Which records the replicas are told to let go of, and which calls are closed."""

import pytest

from consumer.engine.engine import Engine
from consumer.engine.work import Call, ModelContractError
from handoff.cancelling import AGAIN_AFTER_S
from handoff.chunk import STATUS_OK, STATUS_UNAVAILABLE, Outcomes
from schemas.wire.control import ControlRecord
from tests.engines import P0, P1, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS

WINDOW = 64


def engine_with(records: int) -> Engine:
    engine = make_engine(chunk_records=WINDOW)
    engine.assign({P0: None, P1: None})
    engine.deliver([record(n) for n in range(records)], 0.0, EPOCH_MS)
    return engine


def start_call(engine: Engine, replica: str = "replica-1") -> Call:
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert chunk.call == call.number
    engine.take_outcomes(call, Outcomes(replica, WINDOW), 0.0, EPOCH_MS)
    return call


def cancel(engine: Engine, *custom_ids: str) -> None:
    controls = [
        ControlRecord.model_validate({"action": "cancel", "route": "embeddings", "custom_id": each})
        for each in custom_ids
    ]
    engine.backlog.cancel([(each, EPOCH_MS + 1) for each in controls], 0.0, EPOCH_MS)


def answered(replica: str, *indexes: int, status: int = STATUS_OK) -> Outcomes:
    outcomes = Outcomes(replica, WINDOW)
    for index in indexes:
        outcomes.add(index, status, b"{}" if status == STATUS_OK else b"")
    return outcomes


def test_a_cancelled_record_is_let_go_of_and_its_call_goes_on() -> None:
    engine = engine_with(8)
    call = start_call(engine)
    assert call.records == 8
    cancel(engine, "0-3")
    assert engine.calls.let_go(0.0) == ({call.number: [3]}, [])
    assert engine.calls.let_go(1.0) == ({}, [])
    engine.take_outcomes(call, answered("replica-1", 3, status=STATUS_UNAVAILABLE), 1.0, EPOCH_MS)
    assert engine.in_flight_records == 7
    left = [index for index in range(8) if index != 3]
    engine.take_outcomes(call, answered("replica-1", *left), 2.0, EPOCH_MS)
    engine.end_call(call, "over", 2.0, EPOCH_MS)
    assert engine.counters.cancelled_records == 1
    assert engine.counters.retried_records == 0
    assert len(publish_all(engine)) == 8


def test_a_record_of_a_lost_partition_is_let_go_of_and_has_no_outcome_here() -> None:
    engine = make_engine(chunk_records=WINDOW)
    engine.assign({P0: None, P1: None})
    engine.deliver([record(0), record(0, partition=P1), record(1)], 0.0, EPOCH_MS)
    call = start_call(engine)
    engine.suspend()
    engine.assign({P0: None})
    assert engine.calls.let_go(0.0) == ({call.number: [1]}, [])
    engine.take_outcomes(call, answered("replica-1", 1, status=STATUS_UNAVAILABLE), 1.0, EPOCH_MS)
    assert engine.in_flight_records == 2
    assert engine.counters.retried_records == 0
    assert not engine.calls._isolation.breaker.failures
    engine.take_outcomes(call, answered("replica-1", 0, 2), 1.0, EPOCH_MS)
    engine.end_call(call, "over", 1.0, EPOCH_MS)
    assert len(publish_all(engine)) == 2


def test_a_record_that_is_past_its_deadline_is_let_go_of() -> None:
    engine = make_engine(chunk_records=WINDOW)
    engine.assign({P0: None})
    due = [("headrace-deadline", b"%d" % (EPOCH_MS + 1_000))]
    engine.deliver([record(0), record(1, headers=due)], 0.0, EPOCH_MS)
    call = start_call(engine)
    assert engine.calls.give_up_overdue(60.0, EPOCH_MS + 60_000) == []
    assert engine.calls.let_go(60.0) == ({call.number: [1]}, [])


def test_a_replica_is_told_when_it_has_named_itself() -> None:
    engine = engine_with(4)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    engine.take_outcomes(call, Outcomes("", 0), 0.0, EPOCH_MS)
    cancel(engine, "0-2")
    assert engine.calls.let_go(0.0) == ({}, [])
    engine.take_outcomes(call, Outcomes("replica-1", WINDOW), 1.0, EPOCH_MS)
    assert engine.calls.has_unwanted
    assert engine.calls.let_go(1.0) == ({call.number: [2]}, [])
    assert not engine.calls.has_unwanted


def test_a_call_that_no_replica_has_taken_is_closed_at_once_if_nobody_wants_it() -> None:
    engine = engine_with(2)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    cancel(engine, "0-0")
    assert engine.calls.let_go(0.0) == ({}, [])
    cancel(engine, "0-1")
    assert engine.calls.let_go(0.0) == ({}, [call])


def test_a_replica_that_does_not_let_go_has_its_call_closed() -> None:
    engine = engine_with(2)
    call = start_call(engine)
    cancel(engine, "0-0", "0-1")
    assert engine.calls.let_go(0.0) == ({call.number: [0, 1]}, [])
    assert engine.calls.let_go(AGAIN_AFTER_S - 0.1) == ({}, [])
    assert engine.calls.let_go(AGAIN_AFTER_S) == ({call.number: [0, 1]}, [call])
    engine.end_call(call, "the call was cancelled", AGAIN_AFTER_S, EPOCH_MS)
    assert engine.in_flight_records == 0


def test_a_list_may_carry_the_outcomes_of_other_calls() -> None:
    engine = engine_with(16)
    one, two = start_call(engine), start_call(engine)
    carrier = answered("replica-1", 0)
    carrier.others = {two.number: answered("replica-1", 1, 2), 99: answered("replica-1", 0)}
    engine.take_outcomes(one, carrier, 1.0, EPOCH_MS)
    assert engine.in_flight_records == 16 - 3
    assert len(publish_all(engine)) == 3
    assert (one.elsewhere, two.elsewhere) == (0, -2)
    left = answered("replica-1", 0, *range(3, 8))
    left.elsewhere = 2
    engine.take_outcomes(two, left, 2.0, EPOCH_MS)
    assert two.elsewhere == 0
    engine.end_call(two, "over", 2.0, EPOCH_MS)
    assert len(publish_all(engine)) == 6
    assert engine.counters.retried_records == 0


def test_what_another_call_carries_counts_as_heard_of_its_own() -> None:
    engine = engine_with(16)
    one, two = start_call(engine), start_call(engine)
    limit_s = engine.calls._timeout.limit_s(0)
    # (An answer would also teach how long a silence may be.)
    heard = answered("replica-1", 0, status=STATUS_UNAVAILABLE)
    carrier = Outcomes("replica-1", WINDOW, others={two.number: heard})
    now_s = 0.0
    while now_s < limit_s - 5:
        now_s += 5
        engine.calls.give_up_overdue(now_s, EPOCH_MS)
    engine.take_outcomes(one, carrier, now_s, EPOCH_MS)
    while now_s < limit_s + 50:
        now_s += 5
        engine.calls.give_up_overdue(now_s, EPOCH_MS)
    assert one.overdue is not None
    assert two.overdue is None


def test_an_outcome_that_breaks_the_promise_costs_its_list_only() -> None:
    engine = engine_with(16)
    one, two = start_call(engine), start_call(engine)
    carrier = answered("replica-1", 0)
    carrier.others = {two.number: answered("replica-1", 500)}
    with pytest.raises(ModelContractError):
        engine.take_outcomes(one, carrier, 1.0, EPOCH_MS)
    assert engine.in_flight_records == 16
    assert publish_all(engine) == []


def test_a_carried_outcome_says_that_a_replica_has_taken_its_call() -> None:
    engine = engine_with(2 * WINDOW)
    first = start_call(engine)
    second, _ = next_call(engine, 0.0, EPOCH_MS)
    carrying = answered("replica-1", 0)
    carrying.others[second.number] = answered("replica-1", 0)
    engine.take_outcomes(first, carrying, 5_000.0, EPOCH_MS)

    assert second.is_accepted
    assert second.heard_at_s == 5_000.0
    # Nothing is learned from the time before, which is the machine's uptime.
    assert engine.calls.untaken_since_s() is None
    later = answered("replica-1", 1)
    engine.take_outcomes(second, later, 5_001.0, EPOCH_MS)
    assert second.heard_at_s == 5_001.0


def test_a_call_that_is_overdue_may_still_carry_what_others_wait_for() -> None:
    engine = engine_with(16)
    hung, other = start_call(engine), start_call(engine)
    limit_s = engine.calls._timeout.limit_s(0)
    now_s = 0.0
    while hung.overdue is None:
        now_s += 5
        assert now_s < limit_s + 10
        engine.take_outcomes(other, answered("replica-1", 7), now_s, EPOCH_MS)
        engine.calls.give_up_overdue(now_s, EPOCH_MS)
    unanswered = list(range(hung.records))
    assert engine.calls.let_go(now_s) == ({hung.number: unanswered}, [])

    carrier = answered("replica-1", 1)
    carrier.others = {other.number: answered("replica-1", *range(7))}
    engine.take_outcomes(hung, carrier, now_s, EPOCH_MS)
    assert not other.waiting()
    # Those that the replica lets go of have timed out, which is no want of room.
    engine.take_outcomes(
        hung, answered("replica-1", 0, 2, status=STATUS_UNAVAILABLE), now_s, EPOCH_MS
    )
    assert len(hung.waiting()) == hung.records - 1
    (closed,) = engine.calls.let_go(now_s + AGAIN_AFTER_S)[1]
    assert closed is hung
    timed_out = hung.waiting()
    engine.end_call(hung, "the call was cancelled", now_s + AGAIN_AFTER_S, EPOCH_MS)
    assert engine.counters.retried_records == len(timed_out)
    assert {each.timeouts for each in timed_out} == {1}
