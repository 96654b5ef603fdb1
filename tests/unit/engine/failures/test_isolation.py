"""Records that failed: their order, their company, and where the cause of a loss can be."""

import random

import pytest

from consumer.engine.failures.isolation import (
    ISOLATION_FACTOR,
    Cause,
    Isolation,
    Suspicion,
    split_for_isolation,
)
from consumer.engine.failures.retry import Failure, RetryPolicy
from consumer.engine.offsets.ledger import PartitionLedger
from consumer.engine.record_state import RecordState
from consumer.engine.work import Call, PartitionAssignment, WorkItem
from handoff.windows import ReplicaWindows
from tests.engines import P0, record

ASSIGNMENT = PartitionAssignment(P0, PartitionLedger(None, 4096), committed=None)


def item(number: int, failed_attempts: int = 0) -> WorkItem:
    made = WorkItem(ASSIGNMENT, record(number), f"{number}", None, 0.0, 100)
    made.failed_attempts = failed_attempts
    made.state = RecordState.RETRYING
    return made


def suspects(*numbers: int, failed_attempts: int = 2) -> list[WorkItem]:
    return [item(number, failed_attempts) for number in numbers]


def isolation_of(max_attempts: int = 4) -> Isolation:
    policy = RetryPolicy(max_attempts, first_backoff_s=1.0, max_backoff_s=10.0)
    return Isolation(policy, random.Random(7))


def start(isolation: Isolation, items: list[WorkItem], calls_in_flight: int) -> Call:
    call = Call(1, items, ReplicaWindows(initial_records=64).sent(len(items)))
    isolation.started(call, items, calls_in_flight)
    return call


def take(isolation: Isolation, most: Suspicion = Suspicion.STRONG) -> list[str]:
    group = isolation.next_group(most)
    if group is None:
        return []
    isolation.take(group)
    return [each.custom_id or "" for each in group]


def test_what_is_suspected_most_goes_first_and_can_be_left_waiting() -> None:
    isolation = isolation_of()
    isolation.add([item(1)])
    isolation.add(suspects(5, failed_attempts=1))
    isolation.add(suspects(2, 3))
    isolation.add(suspects(4))
    assert isolation.ready_records() == 5
    assert isolation.ready_records(Suspicion.SOME) == 2
    assert isolation.ready_records(Suspicion.NONE) == 1
    assert take(isolation) == ["2", "3"]
    assert [each.custom_id for each in isolation.next_group(Suspicion.NONE) or []] == ["1"]
    assert take(isolation, Suspicion.SOME) == ["5"]
    assert take(isolation, Suspicion.NONE) == ["1"]
    assert take(isolation, Suspicion.SOME) == []
    assert take(isolation) == ["4"]
    assert isolation.ready_records() == 0


def test_what_has_an_outcome_is_forgotten() -> None:
    isolation = isolation_of()
    group = suspects(1, 2)
    isolation.add(group)
    group[0].state = RecordState.DECIDED
    isolation.drop_decided()
    assert isolation.ready_records() == 1
    assert isolation.ready_records(Suspicion.SOME) == 0
    assert [each.custom_id for each in isolation.waiting()] == ["2"]


def test_timeouts_make_no_suspect() -> None:
    isolation = isolation_of()
    (timed_out,) = suspects(1)
    timed_out.timeouts = 2
    isolation.add([timed_out])
    assert isolation.ready_records(Suspicion.SOME) == 1


def test_one_suspect_goes_at_a_time_and_others_beside_it() -> None:
    isolation = isolation_of()
    assert isolation.most_suspicion(5) is Suspicion.STRONG
    call = start(isolation, suspects(1), 1)
    assert isolation.most_suspicion(5) is Suspicion.SOME
    assert isolation.may_start(None, 1)
    isolation.ended(call)
    assert isolation.most_suspicion(5) is Suspicion.STRONG


def test_a_model_that_is_down_is_tried_with_what_is_suspected_least() -> None:
    isolation = isolation_of()
    for now_s in range(3):
        isolation.breaker.call_failed(now_s, 0.0)
    isolation.add(suspects(1))
    assert isolation.most_suspicion(1) is Suspicion.NONE
    assert isolation.most_suspicion(0) is Suspicion.STRONG
    isolation.add(suspects(2, failed_attempts=1))
    assert isolation.most_suspicion(0) is Suspicion.SOME


def test_a_last_attempt_has_the_model_to_itself() -> None:
    isolation = isolation_of(max_attempts=3)
    last = suspects(1)
    assert isolation.may_start(last, 0)
    assert not isolation.may_start(last, 1)
    call = start(isolation, last, 1)
    assert not isolation.may_start(None, 1)
    isolation.ended(call)
    assert isolation.may_start(None, 1)


@pytest.mark.parametrize("records", [1, 4])
def test_the_cause_is_in_a_call_that_was_the_only_one(records: int) -> None:
    isolation = isolation_of()
    items = [item(number) for number in range(records)]
    only = start(isolation, items, 1)
    assert isolation.ended(only) is (Cause.THIS_RECORD if records == 1 else Cause.AMONG_THESE)
    one, other = start(isolation, items, 1), start(isolation, [item(9)], 2)
    assert isolation.ended(one) is Cause.ANYWHERE
    assert isolation.ended(other) is Cause.ANYWHERE
    other, suspect = start(isolation, [item(9)], 1), start(isolation, suspects(1), 2)
    assert isolation.ended(suspect) is Cause.AMONG_THESE
    overdue = start(isolation, items, 2)
    overdue.overdue = "silent for too long"
    assert isolation.ended(overdue) is (Cause.THIS_RECORD if records == 1 else Cause.AMONG_THESE)


@pytest.mark.parametrize(
    ("failure", "cause", "groups"),
    [
        (Failure.REPLICA_LOST, Cause.ANYWHERE, 1),
        (Failure.REPLICA_LOST, Cause.AMONG_THESE, ISOLATION_FACTOR),
        (Failure.MODEL_ERROR, Cause.AMONG_THESE, ISOLATION_FACTOR),
        (Failure.UNAVAILABLE, Cause.AMONG_THESE, 1),
    ],
)
def test_only_where_the_cause_is_among_them_are_records_split(
    failure: Failure, cause: Cause, groups: int
) -> None:
    isolation = isolation_of()
    items = [item(number) for number in range(64)]
    for each in items:
        each.state, each.attempts = RecordState.IN_FLIGHT, 1
    assert isolation.take_back(items, failure, cause, 1.0) == []
    assert isolation.waiting() == isolation.delayed()
    assert set(isolation.delayed()) == set(items)
    assert {each.failed_attempts for each in items} == {int(failure is not Failure.UNAVAILABLE)}
    isolation.advance(100.0)
    assert isolation.delayed() == []
    taken = 0
    while take(isolation):
        taken += 1
    assert taken == groups


def test_a_chunk_is_split_into_eighths_and_nothing_is_left_out() -> None:
    for records in (1, 7, 8, 9, 64, 256):
        groups = split_for_isolation(list(range(records)))
        assert [each for group in groups for each in group] == list(range(records))
        assert max(map(len, groups)) <= max(1, records // ISOLATION_FACTOR)
