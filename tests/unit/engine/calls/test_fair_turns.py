"""Each job that waits gets its weight's share of the work."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.calls.fair_turns import MOST_REMEMBERED, FairTurns


def test_equal_jobs_take_turns_whatever_each_turn_costs() -> None:
    turns: FairTurns[str] = FairTurns()
    costs = {"small": 1.0, "large": 7.0}
    for job in costs:
        turns.enter(job, 1)
    had = dict.fromkeys(costs, 0.0)
    for _ in range(1_000):
        job = turns.next() or ""
        turns.charge(job, costs[job])
        had[job] += costs[job]
    assert abs(had["small"] - had["large"]) <= 7.0


@given(
    st.lists(st.tuples(st.integers(1, 100), st.floats(0.1, 50.0)), min_size=2, max_size=8),
    st.integers(0, 2**32),
)
def test_no_two_waiting_jobs_are_apart_by_more_than_a_turn_of_each(
    jobs: list[tuple[int, float]], seed: int
) -> None:
    turns: FairTurns[int] = FairTurns()
    randomly = random.Random(seed)
    for number, (weight, _) in enumerate(jobs):
        turns.enter(number, weight)
    had = [0.0] * len(jobs)
    for _ in range(300):
        job = turns.next()
        assert job is not None
        work = randomly.uniform(0.05, jobs[job][1])
        turns.charge(job, work)
        had[job] += work
    # Goyal's bound: the normalised work of two jobs differs by at most a turn of each.
    normal = [work / weight for work, (weight, _) in zip(had, jobs, strict=True)]
    turn = [most / weight for weight, most in jobs]
    for one in range(len(jobs)):
        for other in range(one):
            assert abs(normal[one] - normal[other]) <= turn[one] + turn[other] + 1e-6


def test_a_job_that_comes_later_gets_nothing_for_the_time_before() -> None:
    turns: FairTurns[str] = FairTurns()
    turns.enter("early", 1)
    turns.enter("other", 1)
    for _ in range(1_000):
        turns.charge(turns.next() or "", 1.0)
    turns.enter("late", 1)
    had = Counter[str]()
    for _ in range(300):
        job = turns.next() or ""
        turns.charge(job, 1.0)
        had[job] += 1
    assert had.total() == 300
    assert max(had.values()) - min(had.values()) <= 2


def test_a_job_that_waits_now_and_then_pays_for_what_it_had() -> None:
    """A large turn of a job that then has nothing waiting is made up for before its next."""
    turns: FairTurns[str] = FairTurns()
    had = {f"bulk-{number}": 0.0 for number in range(5)} | {"bursts": 0.0}
    for job in had:
        turns.enter(job, 1)
    for _ in range(100):
        while (job := turns.next() or "") != "bursts":
            turns.charge(job, 1.0)
            had[job] += 1.0
        turns.charge("bursts", 10.0)
        had["bursts"] += 10.0
        turns.leave("bursts")
        turns.enter("bursts", 1)
    assert had["bulk-0"] == pytest.approx(had["bursts"], abs=21.0)


def test_a_stream_of_new_jobs_keeps_no_old_one_waiting() -> None:
    """Plain start-time fair queueing would begin each new job level with the last turn."""
    turns: FairTurns[int] = FairTurns()
    turns.enter(-1, 1)
    turns.charge(-1, 1.0)
    turns.enter(0, 1)
    turns.enter(1, 1)
    waited = longest = 0
    for new in range(2, 2_000):
        job = turns.next()
        assert job is not None
        turns.charge(job, 1.0)
        if job == -1:
            longest, waited = max(longest, waited), 0
            continue
        waited += 1
        turns.leave(job)
        turns.enter(new, 1)
    assert max(longest, waited) <= 6


def test_what_is_remembered_of_jobs_that_wait_no_more_is_bounded() -> None:
    turns: FairTurns[int] = FairTurns()
    turns.enter(-1, 1)
    for job in range(10 * MOST_REMEMBERED):
        turns.enter(job, 1)
        turns.charge(job, 1e6)
        turns.leave(job)
        turns.charge(-1, 0.001)
    assert len(turns._ahead) <= MOST_REMEMBERED + 1
    assert len(turns._by_start) <= 2 + MOST_REMEMBERED + 1
    turns.leave(-1)
    assert not turns.are_contested
    assert not turns._ahead


def test_one_job_alone_is_not_charged_once_the_others_are_even() -> None:
    turns: FairTurns[str] = FairTurns()
    turns.enter("bulk", 1)
    seen = [turns.are_contested]
    turns.enter("short", 1)
    turns.charge("short", 5.0)
    turns.leave("short")
    seen.append(turns.are_contested)
    turns.charge("bulk", 5.0)
    turns.charge("bulk", 5.0)
    seen.append(turns.are_contested)
    assert seen == [False, True, False]


def test_a_job_that_is_charged_out_of_turn_delays_itself_only() -> None:
    turns: FairTurns[str] = FairTurns()
    turns.enter("old", 1)
    turns.enter("retried", 1)
    turns.charge(turns.next() or "", 1.0)
    for _ in range(1_000):
        turns.charge("retried", 1.0)
    turns.enter("new", 1)
    had = Counter[str]()
    for _ in range(100):
        job = turns.next() or ""
        turns.charge(job, 1.0)
        had[job] += 1
    assert abs(had["old"] - had["new"]) <= 2
    assert had["retried"] <= 1
