"""What a record costs that is not sampled: less than to read it, which is a part of its way."""

import random
import timeit
from collections.abc import Callable

import pytest

from consumer.engine.intake import Intake
from consumer.engine.tracing.traces import Traces
from handoff.tracing.sampling import Sampler, Sampling
from handoff.tracing.spans import Ids
from schemas.wire.headers import Header
from tests.engines import URL, record
from tests.tracing import KeptSpans

NOT_SAMPLED: Header = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")


def least_s(call: Callable[[], object]) -> float:
    return min(timeit.repeat(call, number=100, repeat=50))


@pytest.mark.parametrize("headers", [[], [NOT_SAMPLED]])
def test_an_unsampled_record_costs_less_than_to_read_it(headers: list[Header]) -> None:
    source = random.Random(1)
    traces = Traces(
        model="m",
        group="g",
        sampler=Sampler(Sampling(0.0), 1_000, source),
        ids=Ids(source),
        sink=KeptSpans(),
    )
    intake = Intake(frozenset({URL}), 10_000)
    one = record(0, headers=headers)

    assert least_s(lambda: traces.begin(one, 0.0)) < least_s(lambda: intake.read(one))
