"""What of an engine's statistics becomes a histogram."""

from types import SimpleNamespace
from typing import Any

from serve_models.generation.statistics.thinning import Thinning


def step(at_s: float, *reasons: str, latencies_s: tuple[float, ...] = ()) -> Any:
    return SimpleNamespace(
        iteration_timestamp=at_s,
        finished_requests=[SimpleNamespace(finish_reason=reason) for reason in reasons],
        time_to_first_tokens_iter=[0.1] * len(reasons),
        max_num_generation_tokens_iter=[7] * len(reasons),
        n_params_iter=[1] * len(reasons),
        inter_token_latencies_iter=list(latencies_s),
    )


def test_one_sequence_stands_for_all_of_its_step() -> None:
    slow, empty = step(1.0, latencies_s=(0.01, 0.03, 0.02)), step(1.0)
    for each in (slow, empty):
        assert Thinning().thin(each) == {}
    assert slow.inter_token_latencies_iter == [0.03]
    assert empty.inter_token_latencies_iter == []


def test_beyond_the_limit_of_a_second_requests_are_counted_only() -> None:
    thinning = Thinning(most_requests_per_s=3)
    first, second, later = (
        step(10.1, "stop", "length"),
        step(10.9, "stop", "stop", "length"),
        step(11.0, "stop", "stop"),
    )
    assert thinning.thin(first) == {}
    assert thinning.thin(second) == {"stop": 1, "length": 1}
    assert len(second.finished_requests) == len(second.time_to_first_tokens_iter) == 1
    assert thinning.thin(later) == {}
    assert len(later.finished_requests) == 2
