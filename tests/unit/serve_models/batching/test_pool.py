import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serve_models.batching.pool import OLDEST_EVERY_BATCHES, Pool, Waiting

BUDGET_TOKENS = 256
MAX_TEXTS = 16
MAX_WAIT_S = 1.0

lengths = st.integers(min_value=1, max_value=400)


def padded_tokens(batch: Sequence[int]) -> int:
    return len(batch) * max(batch)


class PoolMachine(RuleBasedStateMachine):
    """Adds, discards and takes at random; the model is a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool[int](BUDGET_TOKENS, MAX_TEXTS, MAX_WAIT_S)
        self.waiting: dict[int, tuple[int, Waiting[int], float]] = {}
        self.added = 0
        self.now_s = 0.0
        self.passed_over: tuple[int | None, int] = (None, 0)

    @rule(tokens=st.lists(lengths, max_size=40))
    def add(self, tokens: list[int]) -> None:
        for count in tokens:
            key = self.added
            self.waiting[key] = (count, self.pool.add(key, count, self.now_s), self.now_s)
            self.added += 1

    @rule(seconds=st.floats(min_value=0, max_value=2))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        keys = data.draw(st.lists(st.sampled_from(sorted(self.waiting)), unique=True))
        places = [self.waiting.pop(key)[1] for key in keys]
        assert self.pool.discard(places) == len(keys)
        assert self.pool.discard(places) == 0

    @rule()
    def take(self) -> None:
        oldest = min(self.waiting, default=None)
        is_overdue = oldest is not None and self.now_s - self.waiting[oldest][2] >= MAX_WAIT_S
        batch = self.pool.next_batch(self.now_s)
        assert bool(batch) == bool(self.waiting)
        tokens = [self.waiting.pop(key)[0] for key in batch]  # a second delivery raises here
        assert tokens == sorted(tokens, reverse=True)
        assert len(batch) <= MAX_TEXTS
        assert len(batch) <= 1 or padded_tokens(tokens) <= BUDGET_TOKENS
        # An overdue text is the oldest's turn within so many batches, whatever else waits.
        was_passed_over = is_overdue and oldest not in batch
        key, times = self.passed_over
        times = (times + 1 if key == oldest else 1) if was_passed_over else 0
        self.passed_over = (oldest, times)
        assert times < OLDEST_EVERY_BATCHES
        if batch:  # a run: no waiting text would have fitted better between two of the batch
            assert not any(tokens[-1] < count < tokens[0] for count, _, _ in self.waiting.values())

    @invariant()
    def counts_what_waits(self) -> None:
        assert len(self.pool) == len(self.waiting)


TestPoolMachine = PoolMachine.TestCase


@given(st.lists(lengths, min_size=1), st.floats(min_value=0, max_value=5))
def test_every_text_comes_out_exactly_once(tokens: list[int], now_s: float) -> None:
    pool = Pool[int](BUDGET_TOKENS, MAX_TEXTS, MAX_WAIT_S)
    for key, count in enumerate(tokens):
        pool.add(key, count, 0.0)
    out = []
    while batch := pool.next_batch(now_s):
        out += batch
    assert sorted(out) == list(range(len(tokens)))


@given(st.integers(0, 2**32), st.booleans())
def test_padding_is_no_worse_than_in_arrival_order(seed: int, is_overdue: bool) -> None:
    # Given texts of lognormal length that all wait
    rng = random.Random(seed)
    tokens = [min(256, max(3, int(rng.lognormvariate(3.6, 0.9)))) for _ in range(400)]
    pool = Pool[int](1024, 256, MAX_WAIT_S)
    for count in tokens:
        pool.add(count, count, 0.0)
    # When they are taken to the end, by density or by age
    pooled = 0
    while batch := pool.next_batch(MAX_WAIT_S if is_overdue else 0.0):
        pooled += padded_tokens(batch)
    # Then they cost less than the same budget filled in arrival order
    assert pooled < arrival_order_cost(tokens, 1024)
    assert pooled < 1.35 * sum(tokens)


def arrival_order_cost(tokens: Sequence[int], budget_tokens: int) -> int:
    cost = 0
    batch: list[int] = []
    for count in tokens:
        if batch and (len(batch) + 1) * max(*batch, count) > budget_tokens:
            cost += padded_tokens(batch)
            batch = []
        batch.append(count)
    return cost + padded_tokens(batch)


@given(st.integers(0, 2**32))
@settings(max_examples=20)
def test_a_steady_backlog_keeps_every_wait_bounded(seed: int) -> None:
    """Simulated time: 200 texts wait at all times, a batch takes 50 ms, odd lengths are rare."""
    rng = random.Random(seed)
    pool = Pool[tuple[int, float]](512, 64, MAX_WAIT_S)
    now_s, longest_wait_s, added = 0.0, 0.0, 0
    for _ in range(300):
        while len(pool) < 200:
            tokens = rng.choice([20] * 30 + [21] * 30 + [300, 2])
            pool.add((tokens, now_s), tokens, now_s)
            added += 1
        for _, since_s in pool.next_batch(now_s):
            longest_wait_s = max(longest_wait_s, now_s - since_s)
        now_s += 0.05
    # Overdue texts leave oldest first, at least one a batch: 200 older ones at worst.
    assert longest_wait_s <= MAX_WAIT_S + 200 * 0.05
    assert added > 200


def test_a_text_over_the_budget_runs_alone() -> None:
    pool = Pool[int](100, 8, MAX_WAIT_S)
    for count in (500, 10, 10):
        pool.add(count, count, 0.0)
    assert sorted([pool.next_batch(0.0), pool.next_batch(0.0)]) == [[10, 10], [500]]


def test_the_oldest_takes_its_neighbours_along_once_it_is_overdue() -> None:
    pool = Pool[str](120, 3, MAX_WAIT_S)
    pool.add("old", 50, 0.0)
    for key, count in {"long": 90, "near": 52, "short": 4}.items():
        pool.add(key, count, 0.9)
    assert set(pool.next_batch(1.0)) == {"old", "near"}


def test_a_full_pool_with_refills_pays_little_padding() -> None:
    """The case that cutting from the longest down gets wrong: it computes 2.3 times the tokens."""
    rng = random.Random(7)
    pool, real, padded, now_s = Pool[int](2048, 256, 100.0), 0, 0, 0.0
    for _ in range(100):
        while len(pool) < 500:
            count = min(256, max(4, int(rng.lognormvariate(3.8, 0.9))))
            pool.add(count, count, now_s)
        batch = pool.next_batch(now_s)
        real, padded = real + sum(batch), padded + padded_tokens(batch)
    assert padded < 1.1 * real
