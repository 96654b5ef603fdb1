"""When the consumer counts as standing still."""

from consumer.engine.waiting.stall import LEAST_S, StallWatch
from tests.engines import P0, answer, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS

LOOK_S = 30.0
WAITING = "3 records wait"


def look(watch: StallWatch, waiting: str | None, from_s: float, to_s: float) -> str | None:
    """Look every half minute while nothing moves; return the first judgement against it."""
    now_s = from_s
    while now_s < to_s:
        now_s += LOOK_S
        assert not watch.has_moved("the same", now_s)
        if stall := watch.judge(waiting, now_s):
            return stall
    return None


def start() -> StallWatch:
    watch = StallWatch()
    assert watch.has_moved("the same", 0.0)
    return watch


def test_what_waits_for_too_long_with_nothing_in_its_way_is_told() -> None:
    stall = look(start(), WAITING, 0.0, 2 * LEAST_S)
    assert stall is not None
    assert WAITING in stall
    assert "300 s" in stall


def test_where_nothing_waits_it_may_be_quiet_for_ever() -> None:
    assert look(start(), None, 0.0, 100 * LEAST_S) is None


def test_any_progress_begins_the_count_anew() -> None:
    watch = start()
    for round_ in range(20):
        from_s = round_ * LEAST_S
        assert look(watch, WAITING, from_s, from_s + LEAST_S - LOOK_S) is None
        assert watch.has_moved(round_, from_s + LEAST_S)
        assert watch.has_moved("the same", from_s + LEAST_S)


def test_what_waited_for_long_before_is_given_longer() -> None:
    watch = start()
    assert look(watch, WAITING, 0.0, LEAST_S - LOOK_S) is None
    assert watch.has_moved(1, LEAST_S)
    assert watch.has_moved("the same", LEAST_S)
    assert watch.limit_s > 3 * LEAST_S
    assert look(watch, WAITING, LEAST_S, 4 * LEAST_S) is None
    assert look(watch, WAITING, 4 * LEAST_S, 6 * LEAST_S) is not None


def test_time_in_which_the_process_stood_still_counts_little() -> None:
    watch = start()
    assert look(watch, WAITING, 0.0, 60.0) is None
    assert watch.judge(WAITING, 10_000.0) is None


def test_records_that_nothing_holds_up_and_nobody_calls_a_model_for_are_neglected() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    assert engine.neglected() is None
    engine.deliver([record(n) for n in range(3)], 0.0, EPOCH_MS)
    assert "3 records wait for a model replica" in (engine.neglected() or "")
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert engine.neglected() is None  # the model has them
    answer(call, chunk, engine)
    assert engine.neglected() is None  # the broker has their outcomes
    publish_all(engine)
    assert engine.neglected() is None


def test_records_that_wait_for_something_are_not_neglected() -> None:
    engine = make_engine(ordering="partition")
    engine.assign({P0: None})
    engine.deliver([record(n) for n in range(3)], 0.0, EPOCH_MS)
    engine.suspend()
    assert engine.neglected() is None  # a rebalance
    engine.assign({P0: None})
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    engine.end_call(call, "the replica died", 0.0, EPOCH_MS)
    assert engine.neglected() is None  # a backoff
    engine.advance(20.0, EPOCH_MS)
    assert engine.neglected() is not None
    call, chunk = next_call(engine, 20.0, EPOCH_MS)
    answer(call, chunk, engine, now_s=20.0)
    assert engine.neglected() is None  # the first one's outcome is with the broker


def test_a_model_that_is_down_is_a_reason_to_wait() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(n) for n in range(3)], 0.0, EPOCH_MS)
    now_s = 0.0
    for _ in range(5):
        call, _ = next_call(engine, now_s, EPOCH_MS)
        engine.end_call(call, "the replica died", now_s, EPOCH_MS)
        now_s += 30.0
        engine.advance(now_s, EPOCH_MS)
    assert engine.queued_records == 3
    assert engine.neglected() is None


def test_what_may_be_read_is_known_by_its_next_offset() -> None:
    engine = make_engine(max_records=3)
    engine.assign({P0: None})
    assert engine.readable_offsets() == {}
    engine.pass_over({P0: 7})
    assert engine.readable_offsets() == {P0: 7}
    engine.deliver([record(n) for n in range(7, 10)], 0.0, EPOCH_MS)
    assert engine.readable_offsets() == {}  # admission is full
