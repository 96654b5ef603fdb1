"""Which records are traced: as their producers say, else a share of them, and never too many."""

import random

import pytest

from handoff.tracing.sampling import DEFAULT_RATIO, Sampler, Sampling
from schemas.wire.trace_context import TraceContext

MANY = 1_000_000


def sampler(ratio: float, *, follows_parent: bool = True, most_per_s: int = MANY) -> Sampler:
    sampling = Sampling(ratio, follows_parent=follows_parent)
    return Sampler(sampling, most_per_s, random.Random(7))


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.5, 1.0])
def test_a_share_of_the_traces_that_begin_here_is_sampled(ratio: float) -> None:
    one = sampler(ratio)
    sampled = sum(one.begin(None, 0.0) is not None for _ in range(20_000))

    assert sampled / 20_000 == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
@pytest.mark.parametrize("is_sampled", [True, False])
def test_a_record_follows_its_producer(ratio: float, is_sampled: bool) -> None:
    context = sampler(ratio).begin(TraceContext(5, 6, is_sampled, b"a=1"), 0.0)

    assert (context is not None) is is_sampled
    if context is not None:
        assert (context.trace_id, context.state) == (5, "a=1")
        assert context.span_id != 6


def test_by_ratio_alone_all_services_sample_the_same_traces() -> None:
    one, other = (sampler(0.3, follows_parent=False) for _ in range(2))
    draw = random.Random(3)
    parents = [TraceContext(draw.getrandbits(128), 1, False) for _ in range(1_000)]
    decisions = [one.begin(each, 0.0) is not None for each in parents]

    assert decisions == [other.begin(each, 0.0) is not None for each in reversed(parents)][::-1]
    assert 200 < sum(decisions) < 400


def test_a_trace_that_begins_here_is_one_that_its_ratio_takes() -> None:
    root, later = sampler(0.1), sampler(0.1, follows_parent=False)
    begun = [each for _ in range(5_000) if (each := root.begin(None, 0.0)) is not None]

    assert begun
    for each in begun:
        assert later.begin(TraceContext(each.trace_id, 1, False), 0.0) is not None


def test_no_more_than_a_number_a_second_whatever_producers_say() -> None:
    one = sampler(1.0, most_per_s=10)
    parent = TraceContext(5, 6, True)

    assert sum(one.begin(parent, 1.5) is not None for _ in range(100)) == 10
    assert one.passed_over == 90
    assert sum(one.begin(None, 2.1) is not None for _ in range(100)) == 10


@pytest.mark.parametrize(
    ("ratio", "variables", "expected"),
    [
        (None, {}, Sampling(DEFAULT_RATIO)),
        (0.5, {"OTEL_TRACES_SAMPLER": "always_off"}, Sampling(0.5)),
        (None, {"OTEL_TRACES_SAMPLER": "always_on"}, Sampling(1.0, follows_parent=False)),
        (None, {"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, Sampling(1.0)),
        (None, {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, Sampling(0.0)),
        (
            None,
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            Sampling(0.25, follows_parent=False),
        ),
        (
            None,
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            Sampling(0.25),
        ),
        (
            None,
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"},
            Sampling(1.0),
        ),
        (None, {"OTEL_TRACES_SAMPLER": "jaeger_remote"}, Sampling(DEFAULT_RATIO)),
    ],
)
def test_settings_come_before_the_environment(
    ratio: float | None, variables: dict[str, str], expected: Sampling
) -> None:
    assert Sampling.of(ratio, variables) == expected
