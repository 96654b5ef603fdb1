"""A batch's own time: on a device that queues, without its wait behind another."""

from hypothesis import given
from hypothesis import strategies as st

from serve_models.batching.own_time import OwnTime


def test_a_queued_batch_takes_what_comes_after_the_one_before_it() -> None:
    own_time = OwnTime(queues=True)
    assert own_time.finished(started_s=10.0, now_s=12.0) == 2.0
    # It was queued at 11, and computed from 12 on.
    assert own_time.finished(started_s=11.0, now_s=15.0) == 3.0
    # The device was idle from 15 to 20.
    assert own_time.finished(started_s=20.0, now_s=21.0) == 1.0


def test_batches_side_by_side_take_what_they_take() -> None:
    own_time = OwnTime(queues=False)
    assert own_time.finished(10.0, 12.0) == 2.0
    assert own_time.finished(11.0, 15.0) == 4.0


@given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=20), st.integers(1, 3))
def test_own_times_of_a_busy_device_are_what_each_batch_computes(
    durations_s: list[float], ahead: int
) -> None:
    """Each batch is queued when the one ``ahead`` places before it ends."""
    own_time = OwnTime(queues=True)
    ends_s: list[float] = []
    now_s = 100.0
    for number, duration_s in enumerate(durations_s):
        started_s = ends_s[number - ahead] if number >= ahead else 100.0
        now_s = max(now_s, started_s) + duration_s
        ends_s.append(now_s)
        assert abs(own_time.finished(started_s, now_s) - duration_s) < 1e-6
