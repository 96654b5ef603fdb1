"""A route's limit on its rate: never more, hardly less, and no consumer needs another's word."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.engine.calls.rate_limit import RateLimiter, RateLimits
from consumer.engine.counters import Counters
from consumer.engine.engine import Engine
from consumer.replica.build import live_engine_settings
from handoff.chunk import STATUS_OK, Outcomes
from schemas.settings.file import FlowSettings
from tests.engines import P0, answer, line, make_engine, next_call, record
from tests.simulated_service import ROUTE
from tests.simulation import EPOCH_MS

RATES = st.floats(0.05, 5_000.0)


def limited(engine: Engine, **limits: float) -> Engine:
    flow = FlowSettings(**limits)
    engine.reconfigure(live_engine_settings(ROUTE.model_copy(update={"flow": flow})))
    return engine


def dispatch(limiter: RateLimiter, wanted: int, until_s: float) -> list[tuple[float, int]]:
    """Take as much as the limit allows, asking when it says so; return when how much went."""
    now_s, taken = 0.0, []
    while now_s < until_s:
        limiter.ask_anew()
        room = limiter.room_records(wanted, now_s)
        if room:
            taken.append((now_s, room))
            limiter.take(len(taken), room)
            continue
        assert limiter.next_at_s is not None
        assert limiter.next_at_s > now_s
        now_s = limiter.next_at_s
    return taken


@given(RATES, st.integers(1, 512), st.integers(1, 16), st.integers(1, 64))
def test_over_any_time_no_more_than_the_limit_and_a_burst_goes_out_and_hardly_less(
    rate: float, wanted: int, assigned: int, others: int
) -> None:
    limiter = RateLimiter(RateLimits(max_records_per_s=rate), Counters())
    limiter.set_share(assigned, assigned + others)
    share = rate * assigned / (assigned + others)
    until_s = max(20.0, 20.0 / share) if share * 20 < 2_000 else 2_000 / share
    taken = dispatch(limiter, wanted, until_s)

    burst = max(1.0, share)
    sums = [0]
    for _, records in taken:
        sums.append(sums[-1] + records)
    moments = range(0, len(taken), max(1, len(taken) // 40))
    for first in moments:
        for last in moments[moments.index(first) :]:
            went = sums[last + 1] - sums[first]
            assert went <= share * (taken[last][0] - taken[first][0]) + burst + 1e-3
    portion = max(1.0, 0.1 * share)
    assert sums[-1] >= 0.9 * share * until_s - portion


@given(RATES, st.lists(st.tuples(st.integers(1, 8), st.floats(0.0, 3.0)), max_size=30))
def test_the_consumers_of_a_route_keep_the_limit_together_however_partitions_move(
    rate: float, moves: list[tuple[int, float]]
) -> None:
    limiters = [RateLimiter(RateLimits(max_records_per_s=rate), Counters()) for _ in range(2)]
    now_s, went = 0.0, 0
    for assigned, elapsed_s in moves:
        for limiter, partitions in zip(limiters, (assigned, 8 - assigned), strict=True):
            limiter.set_share(partitions, 8)
            if partitions:
                room = limiter.room_records(100_000, now_s)
                limiter.take(0, room)
                went += room
        now_s += elapsed_s
    assert went <= rate * now_s + max(rate, 1.0) + 2 + 1e-3


def test_a_full_route_waits_and_says_when_and_the_pump_is_woken_then() -> None:
    engine = limited(make_engine(), max_records_per_s=10.0)
    engine.assign({P0: None}, topic_partitions=2)
    engine.deliver([record(number) for number in range(50)], 0.0, EPOCH_MS)

    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert len(chunk.lines) == 1, "a consumer begins with one, not with a burst"
    assert engine.next_call(0.0, EPOCH_MS) is None
    # Two partitions, of which one is ours: 5 records/s.
    assert engine.next_due_in_s(0.0, EPOCH_MS) == pytest.approx(0.2)
    answer(call, chunk, engine)
    assert engine.next_call(0.1, EPOCH_MS) is None
    _, chunk = next_call(engine, 0.2, EPOCH_MS)
    assert len(chunk.lines) == 1


def test_what_waits_for_a_limit_is_no_stall_and_is_said() -> None:
    engine = limited(make_engine(max_records=8), max_records_per_s=0.001)
    engine.assign({P0: None})
    engine.deliver([record(number) for number in range(8)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    answer(call, chunk, engine)
    engine.acknowledged(engine.take_publications(10, 10_000))
    assert engine.next_call(1.0, EPOCH_MS) is None

    assert engine.neglected() is None
    assert engine.is_limited(500.0) is True
    engine.waits(1.0)
    (told,) = engine.waits(500.0)
    assert told.startswith("limited to 0.001 records/s by the route's flow: 7 records wait")


def test_a_limit_comes_changes_and_goes_while_the_engine_runs() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(number) for number in range(40)], 0.0, EPOCH_MS)
    assert engine.is_limited(0.0) is None

    limited(engine, max_records_per_s=5.0)
    assert dispatched(engine, 0.0) == 1
    limited(engine, max_records_per_s=200.0)
    # Of 20 records that may go, calls of 8.
    assert dispatched(engine, 0.1) == 16
    limited(engine)
    assert engine.next_due_in_s(0.1, EPOCH_MS) is None
    assert dispatched(engine, 0.1) == 40 - 17


def dispatched(engine: Engine, now_s: float) -> int:
    """Return how many records go out now."""
    records = 0
    while (taken := engine.next_call(now_s, EPOCH_MS)) is not None:
        records += len(taken[1].lines)
    return records


def answer_with_tokens(
    engine: Engine, call: object, records: int, tokens: int, now_s: float
) -> None:
    outcomes = Outcomes("replica-1", 256, measured_records=records, measured_tokens=tokens)
    for index in range(records):
        outcomes.add(index, STATUS_OK, b"{}")
    engine.take_outcomes(call, outcomes, now_s, EPOCH_MS)  # type: ignore[arg-type]
    engine.end_call(call, "over", now_s, EPOCH_MS)  # type: ignore[arg-type]


def test_tokens_are_limited_by_what_records_really_took() -> None:
    engine = limited(make_engine(), max_tokens_per_s=1_000.0)
    engine.assign({P0: None})
    engine.deliver([record(number) for number in range(500)], 0.0, EPOCH_MS)

    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert len(chunk.lines) == 1, "nobody knows yet what a record takes"
    assert engine.next_call(0.0, EPOCH_MS) is None
    assert engine.next_due_in_s(0.0, EPOCH_MS) is None, "its answer says it, no moment does"
    answer_with_tokens(engine, call, 1, 100, 0.0)

    now_s, tokens = 0.0, 100
    while now_s < 30.0:
        taken = engine.next_call(now_s, EPOCH_MS)
        if taken is None:
            due_in_s = engine.next_due_in_s(now_s, EPOCH_MS)
            assert due_in_s is not None
            assert due_in_s > 0
            now_s += due_in_s
            continue
        # Records grow longer than the mean: the difference is charged when it is known.
        records = len(taken[1].lines)
        answer_with_tokens(engine, taken[0], records, records * 150, now_s)
        tokens += records * 150
    assert tokens <= 1_000 * now_s + 1_000 + 150
    assert tokens >= 0.9 * 1_000 * now_s


def test_a_model_that_counts_no_tokens_is_not_limited_by_them() -> None:
    engine = limited(make_engine(), max_tokens_per_s=1.0)
    engine.assign({P0: None})
    engine.deliver([record(number) for number in range(9)], 0.0, EPOCH_MS)
    sizes = []
    while (taken := engine.next_call(0.0, EPOCH_MS)) is not None:
        sizes.append(len(taken[1].lines))
        answer(*taken, engine)
    assert sizes == [1, 2, 4, 2], "one answer without a count does not open the whole window"


def test_refusals_without_counts_do_not_keep_a_token_limited_route_at_one_record() -> None:
    limiter = RateLimiter(RateLimits(max_tokens_per_s=1.0), Counters())
    assert limiter.room_records(64, 0.0) == 1
    for call, status in enumerate((400, 422, 503)):
        limiter.take(call, 1)
        limiter.heard(call, Outcomes("m", 64, [0], [status], [b"{}"]))
        limiter.ended(call)
    assert limiter.room_records(64, 0.0) == 3, "a failure is no refusal"


def test_what_was_in_flight_before_a_token_limit_is_not_owed() -> None:
    counters = Counters()
    limiter = RateLimiter(RateLimits(), counters)
    limiter.take(1, 64)
    limiter.set_limits(RateLimits(max_tokens_per_s=1_000.0))
    limiter.heard(1, Outcomes("m", 64, measured_records=64, measured_tokens=128_000))
    counters.measured_records, counters.measured_tokens = 64, 128_000
    limiter.ended(1)

    assert limiter.room_records(1, 0.0) == 0
    assert limiter.next_at_s is not None
    assert limiter.next_at_s <= 2.0


def test_what_is_owed_takes_no_longer_with_a_smaller_share() -> None:
    counters = Counters(measured_records=1, measured_tokens=100)
    limiter = RateLimiter(RateLimits(max_tokens_per_s=1_000.0), counters)
    assert limiter.room_records(1, 0.0) == 0
    assert limiter.room_records(1, 1.0) == 1
    limiter.take(1, 1)
    limiter.heard(1, Outcomes("m", 64, measured_records=1, measured_tokens=5_000))
    limiter.room_records(1, 1.0)
    before_s = limiter.next_at_s
    assert before_s is not None
    for assigned in (1, 0, 2):
        limiter.set_share(assigned, 8)
    limiter.room_records(1, 1.0)

    assert limiter.next_at_s == pytest.approx(before_s, rel=0.2)


def test_records_that_are_tried_again_together_are_not_held_for_ever() -> None:
    engine = limited(make_engine(chunk_records=64), max_records_per_s=1_000.0)
    engine.assign({P0: None})
    engine.deliver([record(number, line(str(number))) for number in range(64)], 0.0, EPOCH_MS)
    assert engine.next_call(0.0, EPOCH_MS) is None, "a consumer begins without a burst"
    answer(*next_call(engine, 1.0, EPOCH_MS), engine)
    call, chunk = next_call(engine, 2.0, EPOCH_MS)
    assert len(chunk.lines) == 32
    limited(engine, max_records_per_s=2.0)
    engine.end_call(call, "the replica was lost", 2.0, EPOCH_MS)

    now_s, again = 2.0, 0
    for _ in range(400):
        engine.advance(now_s, EPOCH_MS)
        taken = engine.next_call(now_s, EPOCH_MS)
        if taken is not None:
            again += len(taken[1].lines)
            answer(*taken, engine, now_s=now_s)
        now_s += min(5.0, engine.next_due_in_s(now_s, EPOCH_MS) or 5.0)
    assert again == 64 - 8


@settings(max_examples=30)
@given(st.floats(1e-6, 1e6))
def test_a_bucket_is_never_asked_in_vain(rate: float) -> None:
    limiter = RateLimiter(RateLimits(max_records_per_s=rate), Counters())
    now_s = 0.0
    for call in range(20):
        limiter.ask_anew()
        room = limiter.room_records(10, now_s)
        if not room:
            assert limiter.next_at_s is not None
            assert math.isfinite(limiter.next_at_s)
            now_s = limiter.next_at_s
            room = limiter.room_records(10, now_s)
            assert room
        limiter.take(call, room)
