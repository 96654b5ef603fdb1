"""How much goes out to a step's model, and when."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from handoff.breaker import FAILURES_TO_OPEN, FIRST_PAUSE_S, LONGEST_PAUSE_S
from handoff.windows import CallInFlight
from serve_models.pipeline.step_queue import StepQueue

Queue = StepQueue[tuple[str, int]]


def queue_of(records: int, *, initial: int = 64) -> Queue:
    queue: Queue = StepQueue(initial, lambda item: item[0])
    for number in range(records):
        queue.add(("a", number))
    return queue


def send(queue: Queue, now_s: float = 0.0) -> CallInFlight | None:
    """The queue's next call, if it lets one go."""
    items = queue.take(now_s)
    return queue.sent(len(items)) if items else None


def send_all(queue: Queue, now_s: float = 0.0) -> list[CallInFlight]:
    calls = []
    while (call := send(queue, now_s)) is not None:
        calls.append(call)
    return calls


def answer(
    queue: Queue, call: CallInFlight | None, replica: str, window: int, now_s: float = 0.0
) -> None:
    """Answer all of a call and end it."""
    assert call is not None
    queue.heard(call, call.records, replica, window, now_s)
    queue.ended(call, now_s)


def test_all_that_waits_goes_together_up_to_a_part_of_the_window() -> None:
    queue = queue_of(10)
    assert [call.records for call in send_all(queue)] == [8, 2]
    assert queue.in_flight == 10


def test_a_window_is_divided_into_calls_and_replicas_add_up() -> None:
    queue = queue_of(100)
    calls = send_all(queue)
    assert [call.records for call in calls] == [8] * 8
    for number, call in enumerate(calls):
        queue.heard(call, 0, f"r{number % 2}", [16, 40][number % 2], 0.0)
    for call in calls[2:]:
        queue.heard(call, call.records, "r1" if call.replica == "r1" else "r0", 0, 0.0)
        queue.ended(call, 0.0)
    # "r0" has 8 of its window of 16, and "r1" has 8 of its 40.
    assert [call.records for call in send_all(queue)] == [2] * 18


def test_a_replica_at_work_on_a_long_call_takes_nothing_from_the_others() -> None:
    queue = queue_of(200, initial=2)
    busy, quick = send_all(queue)
    queue.heard(busy, 0, "busy", 1, 0.0)
    queue.heard(quick, 0, "quick", 1, 0.0)
    answered = 0
    for now_s in range(5, 600, 5):
        answer(queue, quick, "quick", 1, float(now_s))
        answered += 1
        (quick,) = send_all(queue, float(now_s))
        queue.heard(quick, 0, "quick", 1, float(now_s))
        assert queue.in_flight == 2
    assert answered == 119


def test_a_replica_that_falls_silent_is_forgotten_but_not_the_last() -> None:
    queue = queue_of(30, initial=8)
    early, late = queue.sent(0), queue.sent(0)
    answer(queue, early, "r1", 5)
    answer(queue, late, "r2", 7, 30.0)
    assert len(queue.take(61.0)) == 1
    assert len(send_all(queue)) == 7
    queue = queue_of(30, initial=8)
    answer(queue, queue.sent(0), "r2", 7, 30.0)
    assert len(queue.take(1_000.0)) == 1
    assert len(send_all(queue)) == 7


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
    queue = queue_of(100, initial=8)
    for _ in range(FAILURES_TO_OPEN):
        call = send(queue)
        assert call is not None
        queue.lost(0.0, had_answers=False)
        queue.ended(call, 0.0)
    assert queue.pause_s(0.0) == FIRST_PAUSE_S
    assert queue.take(0.0) == []
    probe = queue.take(FIRST_PAUSE_S)
    assert probe == [("a", 3)]
    call = queue.sent(len(probe))
    assert queue.take(FIRST_PAUSE_S) == []
    assert queue.pause_s(FIRST_PAUSE_S) is None
    answer(queue, call, "r1", 8, FIRST_PAUSE_S)
    assert send(queue, FIRST_PAUSE_S) is not None
    assert send(queue, FIRST_PAUSE_S) is not None


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
)
def test_never_over_the_window_never_stuck_and_in_order(windows: list[int], records: int) -> None:
    queue = queue_of(records, initial=windows[0])
    in_flight: list[tuple[CallInFlight, list[tuple[str, int]]]] = []
    got: Counter[tuple[str, int]] = Counter()
    order: list[int] = []
    window = windows[0]
    turn = 0
    while len(queue) or in_flight:
        while items := queue.take(0.0):
            in_flight.append((queue.sent(len(items)), items))
            order += [number for _, number in items]
            assert queue.in_flight <= window
        assert in_flight
        call, done = in_flight.pop()
        got.update(done)
        window = windows[turn % len(windows)] if not in_flight else 40
        answer(queue, call, "r", window)
        turn += 1
    assert order == list(range(records))
    assert set(got.values()) <= {1}
    assert queue.in_flight == 0


def test_a_call_says_how_much_the_pipeline_wants_of_each_replica() -> None:
    queue = queue_of(100, initial=16)
    first, second = queue.sent(len(queue.take(0.0))), queue.sent(len(queue.take(0.0)))
    assert queue.wanted_records == 100
    queue.heard(first, 1, "r1", 8, 0.0)
    queue.heard(second, 0, "r2", 8, 0.0)
    assert queue.wanted_records == 50
