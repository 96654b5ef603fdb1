"""How many replicas, and why."""

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from consumer.autoscaling.decision import Clamp
from consumer.autoscaling.learning import Arrivals, ColdStart
from consumer.autoscaling.policy import DrainPolicy, Signals
from consumer.autoscaling.sizing import replicas_to_drain


def policy(**changes: object) -> DrainPolicy:
    arguments = {
        "min_replicas": 0,
        "max_replicas": 10,
        "drain_target_s": 60.0,
        "expected_records_per_s": 10.0,
        "expected_cold_start_s": 5.0,
        **changes,
    }
    return DrainPolicy(**arguments)  # type: ignore[arg-type] # the tests' own


def signals(now_s: float = 0.0, remaining: int = 0, running: int = 0, **more: object) -> Signals:
    return Signals(
        now_s=now_s,
        running=running,
        remaining_records=remaining,
        arrived_records=remaining,
        done_records=0,
        **more,  # type: ignore[arg-type] # the tests' own
    )


def to_drain(
    remaining_records: float,
    *,
    arriving: float = 0.0,
    running: int = 0,
    starting_s: Sequence[float] = (),
    cold_start_s: float,
    horizon_s: float = 60.0,
    least_help_s: float = 15.0,
) -> float:
    """How many replicas of 10 records/s are wanted."""
    return replicas_to_drain(
        remaining_records=remaining_records,
        arrival_records_per_s=arriving,
        replica_records_per_s=10.0,
        running=running,
        starting_s=starting_s,
        cold_start_s=cold_start_s,
        horizon_s=horizon_s,
        least_help_s=least_help_s,
    )


def test_a_single_record_wakes_one_replica() -> None:
    assert policy().decide(signals(remaining=1), 0).target == 1


def test_a_burst_gets_what_clears_it_in_time_at_once() -> None:
    decision = policy().decide(signals(remaining=2_000), 0)

    # 200 replica-seconds of work; of 60 s 5 are a start, and 15 % of the rest is slack.
    assert decision.target == math.ceil(200 / (55 * 0.85) / 1.05 - 0.1)
    assert decision.clamp is Clamp.NOTHING


def test_bounds_are_kept_and_named() -> None:
    most = policy(max_replicas=3).decide(signals(remaining=100_000), 1)
    order = policy().decide(signals(remaining=100_000, parallel_records=2), 1)
    stuck = policy().decide(signals(remaining=100_000, parallel_records=0), 1)
    parts = policy().decide(signals(remaining=100_000, partitions=4), 1)
    least = policy(min_replicas=2).decide(signals(), 2)
    kept = policy(min_replicas=3).decide(signals(remaining=100_000, parallel_records=1), 3)

    assert (most.target, most.clamp) == (3, Clamp.MAX_REPLICAS)
    assert (parts.target, parts.clamp) == (4, Clamp.PARTITIONS)
    assert (order.target, order.clamp) == (2, Clamp.PARALLELISM)
    assert (stuck.target, stuck.clamp) == (1, Clamp.PARALLELISM)
    assert (least.target, least.clamp) == (2, Clamp.MIN_REPLICAS)
    assert kept.target == 3


def test_an_unknown_lag_holds_the_target_and_says_so() -> None:
    decision = policy().decide(signals(is_fresh=False, notes=("held: no broker",)), 7)

    assert (decision.target, decision.clamp) == (7, Clamp.HELD)
    assert "clamped by held" in str(decision)
    assert "held: no broker" in str(decision)


def test_from_zero_an_unknown_throughput_starts_one_whatever_waits() -> None:
    unknown = policy(expected_records_per_s=None)

    assert unknown.decide(signals(remaining=1_000_000), 0).target == 1
    assert unknown.decide(signals(2.0, remaining=1_000_000), 1).target == 1
    assert unknown.decide(signals(2.0, remaining=1_000_000), 3).target == 3


def burst_seen_once(remaining: int, done: int) -> Signals:
    """What the first reading after a burst tells of one replica that was idle until then."""
    return Signals(
        now_s=2.0,
        running=1,
        remaining_records=remaining,
        arrived_records=remaining + done,
        done_records=done,
    )


def test_a_burst_need_not_wait_until_the_throughput_is_measured() -> None:
    unknown = policy(expected_records_per_s=None)
    unknown.decide(signals(running=1), 1)

    # 6,000 records at 15 a second are 400 s of work, if it cannot do more.
    assert unknown.decide(burst_seen_once(6_000, 30), 1).target == 2


def test_no_other_is_asked_for_before_the_throughput_is_measured() -> None:
    unknown = policy(expected_records_per_s=None)
    unknown.decide(signals(running=1), 1)
    unknown.decide(burst_seen_once(6_000, 0), 1)

    assert unknown.decide(signals(4.0, remaining=6_000, running=1), 2).target == 2
    assert unknown.decide(signals(9.0, remaining=6_000, running=2), 2).target == 2


def test_what_one_was_seen_to_do_in_time_starts_no_other() -> None:
    unknown = policy(expected_records_per_s=None)
    unknown.decide(signals(running=1), 1)

    assert unknown.decide(burst_seen_once(100, 30), 1).target == 1
    assert policy(expected_records_per_s=None).decide(burst_seen_once(1, 0), 1).target == 1


def test_a_measured_throughput_takes_the_place_of_what_was_seen() -> None:
    unknown = policy(expected_records_per_s=None)
    unknown.decide(signals(running=1), 1)
    unknown.decide(burst_seen_once(2_400, 1), 1)
    measured = Signals(
        now_s=4.0, running=1, remaining_records=1_800, arrived_records=2_401, done_records=601
    )

    # 300 records a second leave six seconds of work: the replica that was asked for is spare.
    assert unknown.decide(measured, 2).wanted < 1.0


def test_spare_replicas_stay_for_the_delay_and_then_go_to_zero() -> None:
    scaled = policy(downscale_delay_s=20.0)
    scaled.decide(signals(remaining=2_000, running=4), 4)

    kept = scaled.decide(signals(19.0, running=4), 4)
    gone = scaled.decide(signals(21.0, running=4), 4)

    assert (kept.target, kept.clamp) == (4, Clamp.DOWNSCALE_DELAY)
    assert gone.target == 0


def test_the_last_replica_stays_while_serve_counts_calls() -> None:
    scaled = policy(downscale_delay_s=0.0)

    assert scaled.decide(signals(running=3, ongoing_calls=0.2), 3).target == 1
    assert scaled.decide(signals(2.0, running=1), 1).target == 0


def test_a_decision_renders_for_logs_and_as_json() -> None:
    decision = policy().decide(signals(remaining=2_000, running=2, ongoing_calls=3.0), 2)

    assert "2000 records remain (100.0 s)" in str(decision)
    tokens = policy().decide(signals(remaining=2_000, running=2, remaining_tokens=5_000), 2)
    assert "2000 records remain (100.0 s, 5000 tokens)" in str(tokens)
    assert decision.to_dict()["clamp"] == "nothing"
    assert decision.is_change


@given(
    remaining=st.integers(0, 10**7),
    running=st.integers(0, 40),
    target=st.integers(0, 40),
    partitions=st.one_of(st.none(), st.integers(1, 40)),
    rate=st.one_of(st.none(), st.floats(0.01, 1e4)),
    cold_start_s=st.floats(0.1, 600.0),
)
def test_a_target_is_always_within_its_bounds(
    remaining: int,
    running: int,
    target: int,
    partitions: int | None,
    rate: float | None,
    cold_start_s: float,
) -> None:
    scaled = policy(
        min_replicas=1,
        max_replicas=40,
        expected_records_per_s=rate,
        expected_cold_start_s=cold_start_s,
    )
    decision = scaled.decide(
        signals(remaining=remaining, running=running, partitions=partitions), target
    )

    assert min(1, partitions or 40) <= max(decision.target, 1) <= max(target, partitions or 40)
    assert decision.target <= 40


@given(
    remaining=st.floats(1, 1e6),
    more=st.floats(0, 1e6),
    running=st.integers(0, 50),
    cold_start_s=st.floats(0, 40),
)
def test_more_work_never_asks_for_fewer(
    remaining: float, more: float, running: int, cold_start_s: float
) -> None:
    def wanted(records: float) -> float:
        return to_drain(records, running=running, cold_start_s=cold_start_s)

    assert wanted(remaining + more) >= wanted(remaining) - 1e-9


def test_replicas_that_start_already_are_not_asked_for_again() -> None:
    assert to_drain(1_000, starting_s=(5.0, 5.0), cold_start_s=10.0) <= 2.0


@given(
    records=st.floats(100, 1e6),
    arriving=st.floats(0, 300),
    running=st.integers(0, 20),
    cold_start_s=st.floats(1, 400),
    horizon_s=st.floats(1, 600),
    elapsed=st.floats(0, 1),
)
def test_what_was_asked_for_is_wanted_until_it_runs(
    records: float,
    arriving: float,
    running: int,
    cold_start_s: float,
    horizon_s: float,
    elapsed: float,
) -> None:
    """All goes as expected meanwhile, so there is nothing to change one's mind for."""

    def wanted(remaining_records: float, starting_s: tuple[float, ...], by_s: float) -> float:
        return to_drain(
            remaining_records,
            arriving=arriving,
            running=running,
            starting_s=starting_s,
            cold_start_s=cold_start_s,
            horizon_s=by_s,
            least_help_s=30.0,
        )

    asked_for = math.ceil(wanted(records, (), horizon_s))
    starting = max(0, asked_for - running)
    passed_s = elapsed * cold_start_s
    then = wanted(
        records + (arriving - 10.0 * running) * passed_s,
        (cold_start_s - passed_s,) * starting,
        max(1.0, horizon_s - passed_s),
    )

    if starting:
        assert asked_for - 1 - 1e-6 <= then <= asked_for + 1e-6


def test_a_late_burst_keeps_the_replicas_that_it_has_asked_for() -> None:
    late = policy(expected_cold_start_s=300.0, max_replicas=100, drain_target_s=600.0)
    late.decide(signals(remaining=50_000, running=1, partitions=1), 1)
    asked_for = late.decide(signals(400.0, remaining=50_000, running=1), 1).target

    # A second at a time, beyond the delay for which a replica that was wanted once is kept.
    targets = {
        late.decide(signals(400.0 + second, remaining=50_000, running=1), asked_for).target
        for second in range(1, 250)
    }

    assert targets == {asked_for}


def test_a_replica_that_would_come_when_all_is_done_is_not_waited_for() -> None:
    def wanted(remaining_records: float) -> float:
        return to_drain(
            remaining_records,
            running=2,
            starting_s=(200.0, 300.0),
            cold_start_s=300.0,
            horizon_s=45.0,
            least_help_s=30.0,
        )

    # Too much for two replicas in 45 s, but not in the 230 s by which a third had worked for 30 s;
    # and not for three in the 330 s by which a fourth had.
    assert wanted(4_600) == 2.0
    assert 2.0 < wanted(4_700) < 3.0
    assert wanted(7_900) == 3.0
    assert 3.0 < wanted(8_000) < 4.0


def test_a_replica_that_is_overdue_is_wanted_for_what_arrives() -> None:
    def wanted(starting_s: float) -> float:
        return to_drain(
            0.0,
            arriving=20.0,
            running=1,
            starting_s=(starting_s,),
            cold_start_s=30.0,
            horizon_s=51.0,
        )

    assert wanted(0.0) == 2.0
    assert math.isclose(wanted(0.001), 2.0, rel_tol=1e-3)


def test_a_burst_does_not_count_as_the_usual_rate() -> None:
    arrivals = Arrivals()
    for second in range(0, 100, 2):
        arrivals.observe(float(second), 5 * second + (100_000 if second >= 60 else 0), 0)

    assert arrivals.records_per_s == 5.0


def test_a_burst_that_takes_its_time_is_no_usual_rate_either() -> None:
    arrivals = Arrivals()
    for second in range(80):
        # From the 15th second to the 25th: across two of the counted spans.
        arrivals.observe(float(second), 100 * max(0, min(10, second - 15)), 0)
        assert arrivals.records_per_s == 0.0


def test_the_oldest_waits_since_it_arrived() -> None:
    arrivals = Arrivals()
    arrivals.observe(0.0, 10, 10)
    arrivals.observe(5.0, 30, 25)

    assert arrivals.oldest_s(8.0) == 8.0
    arrivals.observe(9.0, 30, 20)
    assert arrivals.oldest_s(9.0) == 4.0
    arrivals.observe(10.0, 30, 0)
    assert arrivals.oldest_s(10.0) == 0.0


def test_a_cold_start_is_learned_from_each_replica_that_starts() -> None:
    cold_start = ColdStart(30.0)
    cold_start.asked(100.0, 2, 0)
    cold_start.observe(104.0, 0)
    assert cold_start.starting_s(104.0) == [26.0, 26.0]

    cold_start.observe(110.0, 1)

    assert cold_start.seconds == 10.0
    assert cold_start.starting_s(112.0) == [0.0]
    cold_start.asked(112.0, 1, 1)
    assert cold_start.starting_s(112.0) == []


def test_many_cold_starts_count_as_their_mean_and_not_as_the_slowest() -> None:
    cold_start = ColdStart(30.0)
    cold_start.asked(0.0, 50, 0)
    for running in range(1, 51):
        cold_start.observe(50.0 + 2 * running, running)
    assert cold_start.seconds == 101.0

    cold_start.asked(200.0, 52, 50)
    cold_start.observe(251.0, 52)

    # Two more, of 51 s: each has a fifth of the weight of all before it.
    assert math.isclose(cold_start.seconds, 51.0 + 0.8**2 * 50.0)
