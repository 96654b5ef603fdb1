from hypothesis import given
from hypothesis import strategies as st

from serve_models.batching.token_budget import TokenBudget, worthwhile_tokens


def test_half_of_what_failed_is_tried_next_and_all_again_in_the_end() -> None:
    budget = TokenBudget(16_384)
    budget.was_too_large(16_000)
    budget.was_too_large(8_000)
    assert (budget.tokens, budget.too_large) == (4_000, 2)
    budget.was_too_large(16_000)
    assert budget.tokens == 4_000
    for _ in range(250):
        budget.fitted(budget.tokens)
    assert budget.tokens < 8_000
    for _ in range(1000):
        budget.fitted(budget.tokens)
    assert budget.tokens == 16_384


def test_a_budget_of_a_few_records_grows_as_slowly() -> None:
    budget = TokenBudget(2**62, least_tokens=1)
    for cost in (64, 32, 16, 8):
        budget.was_too_large(cost)
    assert budget.tokens == 4
    for _ in range(60):
        budget.fitted(4)
    assert budget.tokens == 4
    for _ in range(60):
        budget.fitted(4)
    assert budget.tokens == 5


def test_batches_that_filled_little_of_it_say_nothing() -> None:
    budget = TokenBudget(16_384)
    budget.was_too_large(16_000)
    for _ in range(1000):
        budget.fitted(4_000)
    assert budget.tokens == 8_000


@given(
    most=st.integers(1, 100_000),
    costs=st.lists(st.tuples(st.booleans(), st.integers(1, 200_000)), max_size=50),
)
def test_it_stays_between_the_least_and_what_was_set(
    most: int, costs: list[tuple[bool, int]]
) -> None:
    budget = TokenBudget(most)
    for is_too_large, cost in costs:
        before = budget.tokens
        if is_too_large:
            budget.was_too_large(cost)
            assert budget.tokens <= before
        else:
            budget.fitted(cost)
            assert budget.tokens >= before
        assert min(16, most) <= budget.tokens <= most


def test_the_most_may_change_and_what_did_not_fit_is_not_tried_at_once() -> None:
    budget = TokenBudget(16_384)
    budget.set_most(32_768)
    assert budget.tokens == 32_768
    budget.was_too_large(30_000)
    budget.set_most(65_536)
    assert budget.tokens == 15_000
    for _ in range(2000):
        budget.fitted(budget.tokens)
    assert budget.tokens == 65_536
    budget.set_most(20_000)
    assert budget.tokens == 20_000


@given(fixed=st.floats(0, 1e9), least=st.integers(1, 10_000), more=st.integers(0, 100_000))
def test_a_budget_is_worth_a_forward_pass_within_its_limits(
    fixed: float, least: int, more: int
) -> None:
    tokens = worthwhile_tokens(fixed, least, least + more)
    assert least <= tokens <= least + more
    assert tokens >= 8 * fixed - 1 or tokens == least + more
