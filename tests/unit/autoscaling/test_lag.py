"""Remaining work from offsets: what counts, and what never does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.autoscaling.lag import BacklogTracker, LagBasis, remaining, seconds_left, tokens_left
from consumer.engine.offsets import completion_map
from consumer.engine.offsets.completion_map import CompletionMap, encode
from consumer.ports import Lag, OffsetAndMetadata, TopicPartition

ZERO, ONE = TopicPartition("t", 0), TopicPartition("t", 1)


def committed(offset: int, metadata: str = "") -> OffsetAndMetadata:
    return OffsetAndMetadata(offset, metadata)


def test_records_done_above_the_committed_offset_do_not_count() -> None:
    point = committed(10, encode(10, CompletionMap(20, (12, 15))))

    # 10, 12 and 15 of those up to 20, and 21 to 24.
    assert remaining(Lag(0, 25, point), from_latest=False).records == 7


def test_expired_records_are_no_work_and_are_told() -> None:
    point = committed(10, encode(10, CompletionMap(20, (12, 15))))

    found = remaining(Lag(14, 25, point), from_latest=False)

    assert (found.records, found.expired_records) == (5, 4)
    assert found.basis is LagBasis.EXPIRED
    assert found.is_known


@pytest.mark.parametrize(
    ("lag", "basis"),
    [
        (Lag(0, 1_000_000, None), LagBasis.NO_COMMIT),
        (Lag(0, 1_000_000, committed(-1)), LagBasis.NO_COMMIT),
        (Lag(0, 5, committed(9)), LagBasis.BEYOND_END),
    ],
)
def test_a_missing_or_invalid_offset_asks_for_nothing(lag: Lag, basis: LagBasis) -> None:
    found = remaining(lag, from_latest=False)
    backlog = BacklogTracker(from_latest=False).observe({ZERO: lag}, 1.0)

    assert (found.basis, found.is_known) == (basis, False)
    assert backlog.records == 0
    assert basis.value in backlog.notes[0]


def test_a_map_of_another_program_leaves_the_offset() -> None:
    found = remaining(Lag(0, 30, committed(10, "not ours")), from_latest=False)

    assert (found.records, found.basis) == (20, LagBasis.UNREADABLE_MAP)


@given(st.data())
def test_remaining_is_what_a_reader_of_the_map_would_count(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, 50))
    offset = data.draw(st.integers(0, 60))
    highest = offset + data.draw(st.integers(1, 40))
    between = st.integers(offset + 1, max(offset + 1, highest - 1))
    incomplete = tuple(sorted(data.draw(st.sets(between)) - {highest}))
    end = data.draw(st.integers(max(highest + 1, start), 150))
    point = committed(offset, encode(offset, CompletionMap(highest, incomplete)))

    left = {offset, *incomplete, *range(highest + 1, end)}

    found = remaining(Lag(start, end, point), from_latest=False)
    assert found.records == sum(each >= start for each in left)


def test_totals_follow_arrivals_and_completions() -> None:
    tracker = BacklogTracker(from_latest=False)
    tracker.observe({ZERO: Lag(0, 10, committed(4)), ONE: Lag(0, 5, committed(5))}, 1.0)

    backlog = tracker.observe({ZERO: Lag(0, 30, committed(9)), ONE: Lag(0, 5, committed(5))}, 3.0)

    assert (backlog.records, backlog.arrived_records, backlog.done_records) == (21, 20, 5)
    assert (backlog.partitions, backlog.active_partitions, backlog.read_at_s) == (2, 1, 3.0)


def test_lag_in_seconds_and_in_tokens_rests_on_what_was_measured() -> None:
    assert seconds_left(21, 7.0) == 3.0
    assert seconds_left(21, None) is None
    assert seconds_left(21, 0.0) is None
    assert seconds_left(0, None) == 0.0
    assert tokens_left(21, 100.4) == 2_108
    assert tokens_left(21, None) is None


def test_expired_records_were_not_done() -> None:
    tracker = BacklogTracker(from_latest=False)
    tracker.observe({ZERO: Lag(0, 10, committed(0))}, 1.0)

    backlog = tracker.observe({ZERO: Lag(10, 10, committed(0))}, 2.0)

    assert (backlog.records, backlog.done_records) == (0, 0)
    assert "10 offsets expired" in backlog.notes[0]


def test_a_broker_that_does_not_answer_holds_the_last_good_value() -> None:
    tracker = BacklogTracker(from_latest=False)
    both = {ZERO: Lag(0, 10, committed(4)), ONE: Lag(0, 7, committed(0))}
    tracker.observe(both, 1.0)

    half = tracker.observe({ZERO: Lag(0, 10, committed(10))}, 2.0)
    none = tracker.failed("nobody there")

    assert half.records == 7
    assert half.notes == ("held, no answer: t/1",)
    assert (none.records, none.read_at_s, none.notes) == (7, 2.0, ("held: nobody there",))
    assert tracker.observe({}, 3.0).records == 7


def test_an_offset_that_gets_lost_holds_the_last_good_value() -> None:
    tracker = BacklogTracker(from_latest=False)
    tracker.observe({ZERO: Lag(0, 10, committed(4))}, 1.0)

    assert tracker.observe({ZERO: Lag(0, 10, None)}, 2.0).records == 6


def test_the_map_of_a_partition_that_stands_still_is_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = BacklogTracker(from_latest=False)
    known = Lag(0, 25, committed(10, encode(10, CompletionMap(20, (12, 15)))))
    first = tracker.observe({ZERO: known}, 1.0)
    tracker.observe({ZERO: Lag(0, 25, None)}, 2.0)
    # Whoever reads a map from here on fails.
    monkeypatch.setattr(completion_map, "decode", None)

    again = tracker.observe({ZERO: known}, 3.0)

    assert (first.records, again.records, again.done_records) == (7, 7, 0)
    assert again.notes == ()


def test_what_stands_behind_an_open_transaction_is_counted_apart_and_named() -> None:
    tracker = BacklogTracker(from_latest=False)

    backlog = tracker.observe({ZERO: Lag(0, 10, committed(10), 5_010)}, 1.0)

    assert (backlog.records, backlog.blocked_records) == (0, 5_000)
    assert backlog.notes == ("5000 records wait behind an open transaction: t/0",)


def test_an_added_partition_is_unread_from_its_start_though_the_group_began_at_the_end() -> None:
    added = TopicPartition("t", 1)
    tracker = BacklogTracker(from_latest=True)

    new = tracker.observe({ZERO: Lag(0, 25, None), added: Lag(0, 40, None)}, 1.0)
    begun = tracker.observe({ZERO: Lag(0, 25, committed(25)), added: Lag(0, 40, None)}, 2.0)

    assert (new.records, new.unknown_records) == (0, 0)
    assert (begun.records, begun.unknown_records) == (0, 40)


def test_a_point_that_only_says_of_which_log_it_is_leaves_nothing_at_the_end() -> None:
    point = committed(25, encode(25, CompletionMap(25, log_id=b"logA")))

    assert remaining(Lag(0, 25, point), from_latest=False).records == 0
    assert remaining(Lag(0, 30, point), from_latest=False).records == 5
