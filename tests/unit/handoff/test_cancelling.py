"""What a replica is told to let go of, and when again."""

from handoff.cancelling import AGAIN_AFTER_S, CallCancellation


def test_each_record_is_cancelled_once_and_those_that_come_later_too() -> None:
    cancellation = CallCancellation()
    assert cancellation.take_due([3, 5], 0.0) == [3, 5]
    assert cancellation.take_due([3, 5], 1.0) == []
    assert cancellation.take_due([3, 5, 6], 2.0) == [6]


def test_what_is_not_answered_is_cancelled_again() -> None:
    cancellation = CallCancellation()
    cancellation.take_due([3, 5], 0.0)
    assert cancellation.take_due([5], AGAIN_AFTER_S - 0.1) == []
    assert cancellation.take_due([5], AGAIN_AFTER_S) == [5]
    assert cancellation.take_due([5], AGAIN_AFTER_S + 0.1) == []


def test_a_replica_has_its_time_from_when_nothing_is_wanted_on() -> None:
    cancellation = CallCancellation()
    assert not cancellation.is_overdue(100.0)
    assert cancellation.take_due([], 100.0) == []
    assert not cancellation.is_overdue(200.0)
    cancellation.begin(200.0)
    cancellation.take_due([1], 200.0 + AGAIN_AFTER_S / 2)
    assert not cancellation.is_overdue(199.9 + AGAIN_AFTER_S)
    assert cancellation.is_overdue(200.0 + AGAIN_AFTER_S)


def test_an_earlier_cancellation_takes_none_of_that_time() -> None:
    cancellation = CallCancellation()
    cancellation.take_due([0], 0.0)
    cancellation.begin(100.0)
    assert cancellation.take_due([1, 2], 100.0) == [1, 2]
    assert not cancellation.is_overdue(100.0)
