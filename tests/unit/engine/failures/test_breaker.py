"""The engine's calls while its model counts as down."""

from consumer.engine.engine import Engine
from consumer.engine.work import Call
from handoff.breaker import FAILURES_TO_OPEN, LONGEST_PAUSE_S
from handoff.chunk import STATUS_OK, Outcomes
from tests.engines import P0, make_engine, next_call, record
from tests.simulation import EPOCH_MS


def fail_calls(engine: Engine) -> float:
    """Have as many calls fail as open the breaker; return the time."""
    engine.assign({P0: None})
    engine.deliver([record(n) for n in range(20)], 0.0, EPOCH_MS)
    now_s = 0.0
    for _ in range(FAILURES_TO_OPEN):
        call = start(engine, now_s)
        engine.end_call(call, "the replica died", now_s + 1.0, EPOCH_MS)
        now_s += 20.0
        engine.advance(now_s, EPOCH_MS)
    return now_s


def start(engine: Engine, now_s: float, *, is_accepted: bool = True) -> Call:
    call, _ = next_call(engine, now_s, EPOCH_MS)
    if is_accepted:
        engine.take_outcomes(call, Outcomes("", 0), now_s, EPOCH_MS)
    return call


def test_beside_a_call_that_is_being_computed_the_next_one_goes_out() -> None:
    engine = make_engine(chunk_records=2)
    now_s = fail_calls(engine)
    first = start(engine, now_s)
    assert engine.next_call(now_s + 4.0, EPOCH_MS) is None
    due_in_s = engine.next_due_in_s(now_s + 4.0, EPOCH_MS)
    assert due_in_s is not None
    assert due_in_s <= 1.0
    now_s += LONGEST_PAUSE_S
    second = start(engine, now_s)
    assert engine.next_call(now_s, EPOCH_MS) is None

    # One that fails says nothing of the other.
    engine.end_call(second, "the replica died", now_s + 1.0, EPOCH_MS)
    assert engine.next_call(now_s + 1.0, EPOCH_MS) is None
    now_s += 20.0
    start(engine, now_s)
    outcomes = Outcomes("replica-1", 256)
    outcomes.add(0, STATUS_OK, b"{}")
    engine.take_outcomes(first, outcomes, now_s, EPOCH_MS)
    assert engine.next_call(now_s, EPOCH_MS) is not None  # closed


def test_a_call_that_waits_for_a_replica_is_not_being_computed() -> None:
    engine = make_engine(chunk_records=2)
    now_s = fail_calls(engine)
    start(engine, now_s, is_accepted=False)
    assert engine.next_call(now_s + 1_000.0, EPOCH_MS) is None
    assert engine.next_due_in_s(now_s + 1_000.0, EPOCH_MS) is None
