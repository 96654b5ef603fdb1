"""What a replica counts of calls and batches."""

from hypothesis import given
from hypothesis import strategies as st

from handoff.chunk import (
    STATUS_EXPIRED,
    STATUS_FAILED,
    STATUS_LOST,
    STATUS_OK,
    STATUS_UNAVAILABLE,
    STATUS_UNRECOVERABLE,
)
from serve_models.measuring.batches import BatchCounts
from serve_models.measuring.busy_time import BusyTime
from serve_models.measuring.calls import OUTCOMES, CallCounts, outcome_of


@given(st.integers(200, 599))
def test_each_status_is_one_of_few_outcomes(status: int) -> None:
    assert outcome_of(status) in OUTCOMES


def test_statuses_are_told_apart() -> None:
    outcomes = {
        STATUS_OK: "answered",
        404: "refused",
        STATUS_EXPIRED: "expired",
        STATUS_UNAVAILABLE: "turned_away",
        STATUS_FAILED: "failed",
        STATUS_LOST: "failed",
        STATUS_UNRECOVERABLE: "failed",
    }
    assert {status: outcome_of(status) for status in outcomes} == outcomes


def test_what_was_cancelled_is_not_what_found_no_room() -> None:
    counts = CallCounts()
    counts.cancelled()
    counts.streamed([STATUS_OK, STATUS_UNAVAILABLE, STATUS_UNAVAILABLE])
    assert counts.records == {"answered": 1, "cancelled": 1, "turned_away": 1}
    # A call was closed before it could stream this one.
    counts.cancelled()
    counts.none_left()
    counts.streamed([STATUS_UNAVAILABLE])
    assert counts.records["turned_away"] == 2
    assert set(counts.readings()) == {"model_calls"} | {
        ("model_records", outcome) for outcome in OUTCOMES
    }


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), max_size=20))
def test_the_busy_time_is_that_of_the_union_of_what_ran(runs: list[tuple[float, float]]) -> None:
    spans = [(start, start + length) for start, length in runs]
    changes = sorted(
        [(start, 0) for start, _ in spans] + [(end, 1) for _, end in spans], key=lambda each: each
    )
    busy = BusyTime()
    for at_s, is_end in changes:
        if is_end:
            busy.ended(at_s)
        else:
            busy.began(at_s)
    united, reached = 0.0, 0.0
    for start, end in sorted(spans):
        united += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    assert abs(busy.until(1000.0) - united) < 1e-6


def test_what_runs_now_counts_until_now() -> None:
    busy = BusyTime()
    busy.began(1.0)
    busy.began(2.0)
    busy.ended(3.0)
    assert busy.until(4.0) == 3.0
    busy.ended(5.0)
    assert busy.until(9.0) == 4.0


def test_a_batch_is_counted_by_its_texts() -> None:
    counts = BatchCounts()
    for is_padded in (True, False):
        counts.ran(
            [10, 6, 4],
            [1.0, 1.0, 2.0],
            started_at_s=3.0,
            duration_s=0.5,
            is_padded=is_padded,
        )
    assert counts.padding_tokens == 10
    assert (counts.rows.count, counts.rows.total) == (2, 6)
    assert counts.tokens.total == 40
    assert (counts.queue_s.count, counts.queue_s.total) == (6, 10.0)
    assert counts.batch_s.total == 1.0
