"""What is done next about each kind of failure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.engine import Engine
from consumer.engine.failures.isolation import Cause, NextStep, next_step
from consumer.engine.failures.retry import Failure, RetryPolicy, failure_of_status
from handoff.chunk import Chunk, Outcomes
from tests.engines import P0, answer, line, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS

BOTH = frozenset({Failure.MODEL_ERROR, Failure.REPLICA_LOST})


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (500, Failure.MODEL_ERROR),
        (501, Failure.UNRECOVERABLE),
        (502, Failure.REPLICA_LOST),
        (504, Failure.MODEL_ERROR),
        (503, Failure.UNAVAILABLE),
        (599, Failure.MODEL_ERROR),
    ],
)
def test_a_status_says_what_kind_of_failure_it_is(status: int, failure: Failure) -> None:
    assert failure_of_status(status) is failure


@given(
    st.sampled_from(Failure),
    st.frozensets(st.sampled_from(sorted(BOTH))),
    st.booleans(),
    st.integers(0, 9),
    st.integers(1, 6),
    st.sampled_from(Cause),
)
def test_the_next_step_follows_its_rules(
    failure: Failure,
    retried: frozenset[Failure],
    blamed: bool,
    failed_attempts: int,
    most: int,
    cause: Cause,
) -> None:
    step = next_step(
        failure,
        policy=RetryPolicy(most, 1.0, 10.0, retried),
        is_blamed=blamed,
        failed_attempts=failed_attempts,
        cause=cause,
    )
    if failure is Failure.UNAVAILABLE:
        assert step is NextStep.AGAIN_UNBLAMED
    elif failure is Failure.UNRECOVERABLE or failure not in retried:
        assert step is NextStep.GIVE_UP
    elif step is NextStep.GIVE_UP:
        assert blamed
        assert cause is Cause.THIS_RECORD
        assert failed_attempts + 1 >= most
    else:
        assert (step is NextStep.AGAIN) == blamed


def fail(engine: Engine, status: int, now_s: float) -> Chunk:
    call, chunk = next_call(engine, now_s, EPOCH_MS)
    answer(call, chunk, engine, status=status, now_s=now_s)
    return chunk


def test_a_model_without_room_is_asked_again_for_ever_and_paused_for() -> None:
    engine = make_engine(max_attempts=1, retried=frozenset())
    engine.assign({P0: None})
    engine.deliver([record(offset) for offset in range(8)], 0.0, EPOCH_MS)
    now_s, calls = 1.0, 0
    while now_s < 300.0:
        engine.advance(now_s, EPOCH_MS)
        if (called := engine.next_call(now_s, EPOCH_MS)) is not None:
            calls += 1
            assert len(called[1].lines) == 8  # together: no record is suspected
            answer(*called, engine, status=503, now_s=now_s)
        now_s += max(0.01, engine.next_due_in_s(now_s, EPOCH_MS) or 0.0)
    assert 20 < calls < 100
    assert engine.counters.dead_letter_records == 0
    assert not engine.has_publications
    while engine.queued_records == 0:
        now_s += 1.0
        engine.advance(now_s, EPOCH_MS)
    fail(engine, 200, now_s)
    assert engine.counters.answered_records == 8


def test_what_would_fail_again_is_given_up_at_once_and_its_neighbours_are_answered() -> None:
    engine = make_engine(max_attempts=5)
    engine.assign({P0: None})
    engine.deliver([record(offset) for offset in range(3)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    outcomes = Outcomes("replica-1", 64)
    for index, status in enumerate([200, 501, 200]):
        outcomes.add(index, status, b"{}")
    engine.take_outcomes(call, outcomes, 0.1, EPOCH_MS)
    engine.end_call(call, "over", 0.1, EPOCH_MS)
    letters = [
        message
        for publication in publish_all(engine)
        for message in publication.messages
        if message.topic == "dead-letters"
    ]
    assert [letter.value for letter in letters] == [line("0-1")]
    said = dict(letters[0].headers)["headrace-error-message"] or b""
    assert b"says that it would again" in said
    assert engine.counters.retried_records == 0


@pytest.mark.parametrize("retried", [frozenset({Failure.REPLICA_LOST}), frozenset()])
def test_failures_that_the_route_does_not_retry_are_given_up_at_once(
    retried: frozenset[Failure],
) -> None:
    engine = make_engine(max_attempts=5, retried=retried)
    engine.assign({P0: None})
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    fail(engine, 500, 0.0)
    assert engine.counters.dead_letter_records == 1
    engine.deliver([record(1)], 1.0, EPOCH_MS)
    call, _ = next_call(engine, 1.0, EPOCH_MS)
    engine.end_call(call, "the replica died", 1.0, EPOCH_MS)
    assert engine.counters.dead_letter_records == (1 if retried else 2)


def test_one_attempt_means_one_where_the_record_was_alone() -> None:
    engine = make_engine(max_attempts=1)
    engine.assign({P0: None})
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    engine.end_call(call, "the replica died", 0.0, EPOCH_MS)
    assert engine.counters.dead_letter_records == 1
