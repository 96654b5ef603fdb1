"""How much goes out to a step's model, and when."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from serve_models.step_queue import FIRST_PAUSE_S, LONGEST_PAUSE_S, LOSSES_TO_PAUSE, StepQueue
from serve_models.window_share import CONSUMER_FORGOTTEN_AFTER_S, ConsumerShare


def queue_of(records: int, *, initial: int = 8, calls: int = 1) -> StepQueue[tuple[str, int]]:
    queue: StepQueue[tuple[str, int]] = StepQueue(initial, calls, lambda item: item[0])
    for number in range(records):
        queue.add(("a", number))
    return queue


def test_all_that_waits_goes_together_up_to_the_window() -> None:
    queue = queue_of(10)
    assert len(queue.take(0.0)) == 8
    assert queue.take(0.0) == []
    queue.answered(8, "r1", 6, 0.0)
    assert len(queue.take(0.0)) == 2
    assert queue.in_flight == 2


def test_a_window_is_divided_into_calls_and_replicas_add_up() -> None:
    queue = queue_of(100, initial=64, calls=4)
    assert [len(queue.take(0.0)) for _ in range(5)] == [16, 16, 16, 16, 0]
    queue.answered(16, "r1", 8, 0.0)
    queue.answered(16, "r2", 40, 0.0)
    assert queue.window_records(0.0) == 48
    assert [len(queue.take(0.0)) for _ in range(9)] == [2] * 8 + [0]


def test_a_replica_that_falls_silent_is_forgotten_but_not_the_last() -> None:
    queue = queue_of(0)
    queue.answered(0, "r1", 5, 0.0)
    queue.answered(0, "r2", 7, 30.0)
    assert queue.window_records(60.0) == 12
    assert queue.window_records(61.0) == 7
    assert queue.window_records(1_000.0) == 7


def test_after_a_loss_requests_of_different_origins_travel_apart() -> None:
    queue = queue_of(2)
    queue.add(("b", 0))
    queue.lost(0.0, had_answers=True)
    assert queue.take(1.0) == [("a", 0), ("a", 1)]
    assert queue.take(1.0) == [("b", 0)]
    queue.add(("a", 2))
    queue.add(("b", 1))
    assert queue.take(200.0) == [("a", 2), ("b", 1)]


def test_a_model_that_is_down_is_tried_one_call_at_a_time() -> None:
    queue = queue_of(100, calls=8)
    for _ in range(LOSSES_TO_PAUSE):
        taken = queue.take(0.0)
        queue.lost(0.0, had_answers=False)
        queue.ended(len(taken))
    assert queue.pause_s(0.0) == FIRST_PAUSE_S
    assert queue.take(0.0) == []
    (probe,) = queue.take(FIRST_PAUSE_S)
    assert queue.take(FIRST_PAUSE_S) == []
    assert queue.pause_s(FIRST_PAUSE_S) is None
    queue.answered(1, "r1", 8, FIRST_PAUSE_S)
    assert len(queue.take(FIRST_PAUSE_S)) == 1
    assert len(queue.take(FIRST_PAUSE_S)) == 1
    assert probe == ("a", 3)


def test_the_pause_grows_and_has_an_end() -> None:
    queue = queue_of(0)
    for _ in range(50):
        queue.lost(0.0, had_answers=False)
    assert queue.pause_s(0.0) == LONGEST_PAUSE_S
    assert queue.pause_s(LONGEST_PAUSE_S) is None


def test_what_nobody_wants_is_dropped() -> None:
    queue = queue_of(4)
    queue.keep(lambda item: item[1] % 2 == 0)
    assert queue.take(0.0) == [("a", 0), ("a", 2)]


@given(
    windows=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    records=st.integers(0, 60),
    calls=st.integers(1, 32),
)
def test_never_over_the_window_never_stuck_and_in_order(
    windows: list[int], records: int, calls: int
) -> None:
    queue = queue_of(records, initial=windows[0], calls=calls)
    in_flight: list[list[tuple[str, int]]] = []
    got: Counter[tuple[str, int]] = Counter()
    order: list[int] = []
    turn = 0
    while len(queue) or in_flight:
        while items := queue.take(0.0):
            in_flight.append(items)
            order += [number for _, number in items]
            assert queue.in_flight <= queue.window_records(0.0)
        assert in_flight
        done = in_flight.pop()
        got.update(done)
        queue.answered(len(done), "r", 40, 0.0)
        queue.answered(0, "r", windows[turn % len(windows)], 0.0) if not in_flight else None
        turn += 1
    assert order == list(range(records))
    assert set(got.values()) <= {1}
    assert queue.in_flight == 0


def test_a_window_is_shared_by_those_seen_lately() -> None:
    share = ConsumerShare()
    assert share.share(10, 0.0) == 10
    share.seen("a", 0.0)
    share.seen("b", 1.0)
    share.seen("c", 1.0)
    assert share.share(10, 2.0) == 4
    assert share.share(1, 2.0) == 1
    assert share.share(10, CONSUMER_FORGOTTEN_AFTER_S + 0.5) == 5
    share.seen("b", 50.0)
    assert share.share(10, 50.0) == 10
