"""How much may be at work at a time, by a route's order."""

import pytest

from consumer.autoscaling.lag import Backlog
from consumer.autoscaling.measures import Ordering, RouteMeasures, parallel_records

BACKLOG = Backlog(records=20_000, partitions=8, active_partitions=1)
FULL = RouteMeasures(runnable_records=3, held_records=16_384, reads_on=False)


@pytest.mark.parametrize(
    ("ordering", "measures", "most"),
    [
        pytest.param("none", FULL, None, id="without order all may run"),
        pytest.param("partition", RouteMeasures(), 1, id="a partition runs one at a time"),
        pytest.param("key", RouteMeasures(), None, id="nobody has counted the keys"),
        pytest.param("key", FULL, 3, id="full consumers know what they hold"),
        pytest.param(
            "key",
            RouteMeasures(runnable_records=3, held_records=100, reads_on=True),
            None,
            id="consumers that read on may find other keys",
        ),
        pytest.param(
            "key",
            RouteMeasures(runnable_records=3, held_records=20_000, reads_on=True),
            3,
            id="consumers hold all that there is",
        ),
        pytest.param("partition", RouteMeasures(runnable_records=0, reads_on=False), 0, id="least"),
    ],
)
def test_what_bounds_the_records_at_work(
    ordering: Ordering, measures: RouteMeasures, most: int | None
) -> None:
    assert parallel_records([(ordering, BACKLOG, measures)]) == most


def test_a_model_behind_several_routes_has_the_work_of_all() -> None:
    one: tuple[Ordering, Backlog, RouteMeasures] = ("partition", BACKLOG, RouteMeasures())
    unordered: tuple[Ordering, Backlog, RouteMeasures] = ("none", BACKLOG, RouteMeasures())

    assert parallel_records([one, one]) == 2
    assert parallel_records([one, unordered]) is None
