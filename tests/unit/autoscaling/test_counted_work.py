"""Which work counts: not a paused route's, and of a limited one's what the limit lets through."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from consumer.autoscaling.counted_work import CountedWork
from consumer.autoscaling.decision import Clamp
from consumer.autoscaling.lag import Backlog
from consumer.autoscaling.measures import RouteMeasures
from consumer.autoscaling.policy import DrainPolicy, Signals
from consumer.engine.calls.rate_limit import RateLimits

RUNS, PAUSED = RouteMeasures(), RouteMeasures(is_paused=True)
BACKLOG = Backlog(records=1_000, arrived_records=5_000, done_records=4_000)


def test_a_paused_route_has_no_work_and_what_comes_meanwhile_is_no_arrival() -> None:
    work = CountedWork([RateLimits()], 60.0)
    before = work.of([BACKLOG], [RUNS])
    grown = replace(BACKLOG, records=9_000, arrived_records=13_000)
    paused = work.of([grown], [PAUSED])
    after = work.of([replace(grown, records=8_999, done_records=4_001)], [RUNS])

    assert (before.remaining_records, before.arrived_records) == (1_000, 5_000)
    assert (paused.remaining_records, paused.arrived_records) == (0, 5_000)
    assert (after.remaining_records, after.arrived_records, after.done_records) == (
        8_999,
        5_000,
        4_001,
    )


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.integers(0, 99), st.integers(0, 99)), max_size=40
    )
)
def test_totals_never_shrink_over_pauses(
    turns: list[tuple[bool, bool, int, int]],
) -> None:
    work = CountedWork([RateLimits(), RateLimits()], 60.0)
    totals, last = [[0, 0], [0, 0]], (0, 0)
    for first_paused, second_paused, arrived, done in turns:
        for total in totals:
            total[0] += arrived
            total[1] += done
        found = work.of(
            [Backlog(arrived_records=a, done_records=d) for a, d in totals],
            [RouteMeasures(is_paused=each) for each in (first_paused, second_paused)],
        )
        now = found.arrived_records, found.done_records
        counted = 2 - first_paused - second_paused
        assert now == (last[0] + arrived * counted, last[1] + done * counted)
        last = now


def test_a_limited_routes_backlog_counts_as_far_as_the_limit_lets_it_through_in_time() -> None:
    limit = RateLimits(max_records_per_s=10.0)
    huge = replace(BACKLOG, records=1_000_000)
    alone = CountedWork([limit], 60.0).of([huge], [RUNS])
    beside = CountedWork([limit, RateLimits()], 60.0).of([huge, BACKLOG], [RUNS, RUNS])
    tokens = CountedWork([RateLimits(max_tokens_per_s=500.0)], 60.0)

    assert (alone.remaining_records, alone.most_records_per_s) == (600, 10.0)
    assert (beside.remaining_records, beside.most_records_per_s) == (1_600, None)
    assert tokens.of([huge], [RUNS]).most_records_per_s is None
    known = tokens.of([huge], [RouteMeasures(tokens_per_record=100.0)])
    assert (known.remaining_records, known.most_records_per_s) == (300, 5.0)


def test_all_routes_with_a_backlog_have_to_be_held_back() -> None:
    held_back = RouteMeasures(is_limited=True)
    work = CountedWork([RateLimits(max_records_per_s=1.0)] * 2, 60.0)

    assert work.of([BACKLOG, Backlog()], [held_back, RUNS]).is_limited
    assert not work.of([BACKLOG, BACKLOG], [held_back, RUNS]).is_limited
    assert not work.of([Backlog(), Backlog()], [held_back, held_back]).is_limited


def scaled(limit: float, *, capacity: float, expected: float | None, minutes: int = 20) -> int:
    """Return the most replicas that a policy asked for, of a route with a limit and a backlog."""
    policy = DrainPolicy(
        min_replicas=1, max_replicas=50, drain_target_s=60.0, expected_records_per_s=expected
    )
    work = CountedWork([RateLimits(max_records_per_s=limit)], 60.0)
    target, most, done, arrived = 1, 1, 0.0, 1_000_000
    for second in range(0, minutes * 60, 2):
        rate = min(limit, capacity * target)
        done += 2 * rate
        backlog = Backlog(
            records=int(arrived - done), arrived_records=arrived, done_records=int(done)
        )
        found = work.of([backlog], [RouteMeasures(is_limited=capacity * target > limit)])
        decision = policy.decide(
            Signals(
                now_s=float(second),
                running=target,
                remaining_records=found.remaining_records,
                arrived_records=found.arrived_records,
                done_records=found.done_records,
                most_records_per_s=found.most_records_per_s,
                is_limited=found.is_limited,
            ),
            target,
        )
        target = decision.target
        most = max(most, target)
    return most


def test_a_limited_route_gets_the_replicas_that_its_limit_needs_and_no_more() -> None:
    assert scaled(10.0, capacity=100.0, expected=None) == 1
    assert scaled(10.0, capacity=100.0, expected=100.0) == 1
    assert scaled(250.0, capacity=100.0, expected=100.0) == 3
    assert scaled(250.0, capacity=100.0, expected=None) in (3, 4)


def test_a_limit_is_named_as_what_clamps() -> None:
    policy = DrainPolicy(
        min_replicas=1, max_replicas=50, drain_target_s=60.0, expected_records_per_s=10.0
    )
    signals = Signals(
        now_s=0.0,
        running=1,
        remaining_records=100_000,
        arrived_records=100_000,
        done_records=0,
        most_records_per_s=25.0,
    )
    decision = policy.decide(signals, 1)

    assert (decision.target, decision.clamp) == (3, Clamp.RATE_LIMIT)


def test_a_paused_routes_consumers_go_to_their_minimum() -> None:
    policy = DrainPolicy(
        min_replicas=1, max_replicas=9, drain_target_s=60.0, expected_records_per_s=10.0
    )
    work = CountedWork([RateLimits()], 60.0)
    target, arrived = 4, 0
    for second in range(0, 300, 2):
        arrived += 2_000
        found = work.of([Backlog(records=arrived, arrived_records=arrived)], [PAUSED])
        target = policy.decide(
            Signals(
                now_s=float(second),
                running=target,
                remaining_records=found.remaining_records,
                arrived_records=found.arrived_records,
                done_records=found.done_records,
            ),
            target,
        ).target
        assert target <= 4
    assert target == 1
