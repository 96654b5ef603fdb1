"""What the rounds on three nodes draw and measure."""

from tests.nodes.progress import Progress
from tests.nodes.ray_host import HEAD
from tests.nodes.rounds import draw
from tests.nodes.stage import WORKERS


def test_each_node_is_killed_once_before_any_comes_again() -> None:
    orders = draw(5, 4, "exactly_once")

    assert {each.node for each in orders[:3]} == {HEAD, *WORKERS}
    assert orders == draw(5, 4, "exactly_once")
    assert orders != draw(6, 4, "exactly_once")
    # Ray's nodes end after a minute without a head.
    assert all(0 < each.away_s < 30 for each in orders)


def steady(per_s: int, from_s: int, to_s: int, finished: int, progress: Progress) -> int:
    for at_s in range(from_s, to_s):
        progress.add(float(at_s), finished)
        finished += per_s
    return finished


def test_a_rate_counts_from_the_return_on() -> None:
    progress = Progress()
    finished = steady(100, 0, 20, 0, progress)
    steady(10, 20, 40, finished, progress)

    assert progress.rate_since(0.0, 19.0) == 100.0
    assert progress.rate_since(18.0, 19.0) == 0.0
    assert progress.rate_since(18.0, 39.0) == 10.0


def test_the_longest_gap_may_be_the_last() -> None:
    progress = Progress()
    finished = steady(100, 0, 10, 0, progress)
    steady(0, 10, 20, finished, progress)
    steady(100, 20, 25, finished, progress)

    # It stands still from the sample at 10 s to the one at 21 s.
    assert progress.longest_gap_s(5.0, 25.0) == 11.0
    assert progress.longest_gap_s(5.0, 60.0) == 36.0
