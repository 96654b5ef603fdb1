"""What batches teach of a device, and what batches are cut by it; time is simulated."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_models.batching.forward_cost import (
    FIRST_FIXED_TOKENS,
    LEAST_FIXED_TOKENS,
    MOST_FIXED_TOKENS,
    ForwardCost,
)
from serve_models.batching.pool import Pool
from serve_models.batching.token_budget import worthwhile_tokens

Device = Callable[[int], float]
sizes = st.integers(1, 65_536)


def device(fixed_tokens: float, per_token_s: float = 1e-6) -> Device:
    return lambda tokens: (fixed_tokens + tokens) * per_token_s


def learned(cost: ForwardCost, runs: Device, batches: list[int], noise: random.Random) -> float:
    for tokens in batches:
        cost.batch_finished(tokens, runs(tokens) * noise.lognormvariate(0, 0.05))
    return cost.fixed_tokens


@given(
    fixed_tokens=st.floats(30, 30_000),
    per_token_s=st.floats(1e-9, 1e-3),
    seed=st.integers(0, 2**32),
)
def test_batches_of_many_sizes_tell_both_parts(
    fixed_tokens: float, per_token_s: float, seed: int
) -> None:
    rng = random.Random(seed)
    # As the batches of a pool: mostly full, some small.
    largest = max(1024, int(4 * fixed_tokens))
    batches = [rng.choice([largest, largest // 2, rng.randint(1, largest)]) for _ in range(400)]
    cost = ForwardCost()
    found = learned(cost, device(fixed_tokens, per_token_s), batches, rng)
    assert found == pytest.approx(fixed_tokens, rel=0.4)
    expected_s = device(fixed_tokens, per_token_s)(largest)
    assert cost.duration_s(largest) == pytest.approx(expected_s, rel=0.1)


@given(tokens=sizes, seed=st.integers(0, 2**32))
def test_batches_of_one_size_leave_the_ratio_as_it_was(tokens: int, seed: int) -> None:
    rng = random.Random(seed)
    batches = [max(1, round(tokens * rng.uniform(0.98, 1.0))) for _ in range(500)]
    found = learned(ForwardCost(), device(1000.0), batches, rng)
    # Noise of 5 % would otherwise make it anything from nothing to the whole duration.
    assert LEAST_FIXED_TOKENS <= found <= FIRST_FIXED_TOKENS + tokens * 0.15 + 50


def test_what_changes_for_good_is_learned_again() -> None:
    rng = random.Random(1)
    cost = ForwardCost()
    batches = [rng.randint(100, 16_384) for _ in range(1500)]
    learned(cost, device(100.0), batches, rng)
    # A neighbour on the GPU: each launch takes longer, and so does each token.
    assert learned(cost, device(4000.0, 1e-5), batches, rng) == pytest.approx(4000.0, rel=0.25)
    assert cost.duration_s(16_384) == pytest.approx(0.204, rel=0.1)


def test_a_process_that_stood_still_changes_little() -> None:
    rng = random.Random(2)
    cost, undisturbed = ForwardCost(), ForwardCost()
    for number in range(400):
        tokens = rng.randint(100, 16_384)
        duration_s = device(500.0)(tokens)
        undisturbed.batch_finished(tokens, duration_s)
        cost.batch_finished(tokens, 5.0 if number % 50 == 49 else duration_s)
    assert cost.fixed_tokens == pytest.approx(undisturbed.fixed_tokens, rel=0.2)
    assert cost.duration_s(10_000) == pytest.approx(undisturbed.duration_s(10_000), rel=0.1)


@given(
    st.lists(
        st.tuples(
            st.integers(-1, 2**40),
            st.sampled_from([math.nan, math.inf, -1.0, 0.0]) | st.floats(1e-9, 1e6),
        )
    )
)
def test_whatever_runs_the_cost_is_a_number_within_its_limits(
    batches: list[tuple[int, float]],
) -> None:
    cost = ForwardCost()
    for tokens, duration_s in batches:
        cost.batch_finished(tokens, duration_s)
        assert LEAST_FIXED_TOKENS <= cost.fixed_tokens <= MOST_FIXED_TOKENS
        assert math.isfinite(cost.duration_s(1024))
        assert cost.duration_s(1024) >= 0


@given(
    batches=st.lists(st.tuples(sizes, st.floats(1e-4, 10.0)), min_size=1, max_size=60),
    factor=st.sampled_from([0.125, 8.0, 1024.0]),
)
def test_a_slower_clock_changes_durations_and_not_their_ratio(
    batches: list[tuple[int, float]], factor: float
) -> None:
    one, other = ForwardCost(), ForwardCost()
    for tokens, duration_s in batches:
        one.batch_finished(tokens, duration_s)
        other.batch_finished(tokens, duration_s * factor)
    assert other.fixed_tokens == pytest.approx(one.fixed_tokens, rel=1e-3)
    assert other.duration_s(999) == pytest.approx(factor * one.duration_s(999), rel=1e-3, abs=1e-9)


def test_now_and_then_a_short_text_tells_what_full_batches_do_not() -> None:
    rng = random.Random(3)
    cost = ForwardCost()
    batches = [5 if number % 64 == 0 else 16_384 for number in range(600)]
    assert learned(cost, device(20_000.0, 1e-7), batches, rng) == pytest.approx(20_000.0, rel=0.3)


def texts_per_s(
    runs: Device, cost: ForwardCost | None, least: int, most: int, rows: int, waiting: int = 2048
) -> float:
    """Return the rate of a device over a backlog of lognormal lengths, as the engine cuts it."""
    rng = random.Random(7)
    pool, texts, now_s = Pool[int](least, rows, 100.0), 0, 0.0
    for number in range(150):
        while len(pool) < waiting:
            count = min(512, max(4, int(rng.lognormvariate(3.2, 0.9))))
            pool.add(count, count, now_s)
        batch = pool.next_batch(now_s)
        tokens = len(batch) * max(batch)
        duration_s = runs(tokens) * rng.lognormvariate(0, 0.05)
        texts, now_s = texts + len(batch), now_s + duration_s
        if cost is not None:
            cost.batch_finished(tokens, duration_s)
            if number % 64 == 16:
                cost.batch_finished(5, runs(5))
            pool.fixed_tokens = cost.fixed_tokens
            pool.token_budget_tokens = worthwhile_tokens(cost.fixed_tokens, least, most)
    return texts / now_s


def test_a_gpu_with_a_small_model_gets_the_batches_that_it_needs() -> None:
    """A pass of 2 ms and 0.1 microseconds a token: 20,000 tokens are worth a launch."""
    runs = device(20_000.0, 1e-7)
    before = texts_per_s(runs, None, 16_384, 16_384, rows=256)
    assert texts_per_s(runs, ForwardCost(), 16_384, 65_536, rows=4096) > 1.4 * before


def test_a_cpu_loses_nothing_by_learning() -> None:
    """As MiniLM on one core: a pass of some 30 tokens, and a budget that does not grow."""
    for fixed_tokens in (10.0, 32.0, 100.0):
        runs = device(fixed_tokens, 4e-5)
        before = texts_per_s(runs, None, 1024, 1024, rows=256)
        assert texts_per_s(runs, ForwardCost(), 1024, 1024, rows=256) > 0.98 * before
