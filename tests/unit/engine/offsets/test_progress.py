"""Edits of committed progress against plain sets, and what a consumer then does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.offsets.completion_map import RecordFailures
from consumer.engine.offsets.ledger import Delivery, PartitionLedger
from consumer.engine.offsets.progress import EditError, Progress, replay, seek, skip
from consumer.ports import OffsetAndMetadata

LIMIT = 4096
LOG_END = 400
EVERYTHING = frozenset(range(LOG_END))
LOG_ID = b"abcd"


@st.composite
def progresses(draw: st.DrawFn) -> Progress:
    """Some progress in a log of ``LOG_END`` records."""
    done = draw(st.sets(st.integers(0, LOG_END - 1)))
    done |= set(range(draw(st.integers(0, 150))))
    frontier = max(done, default=-1) + 1
    unfinished = tuple(sorted(set(range(frontier)) - done))
    failures = tuple(
        RecordFailures(offset, 3, 2) for offset in unfinished[:: draw(st.integers(1, 9))][:4]
    )
    return Progress(unfinished, frontier, failures, draw(st.sampled_from([b"", LOG_ID])))


def done_of(progress: Progress) -> set[int]:
    return {offset for offset in EVERYTHING if progress.is_done(offset)}


def done_by_consumer(point: OffsetAndMetadata) -> set[int]:
    """Return what a consumer that starts from a commit does not do."""
    ledger = PartitionLedger(point, LIMIT)
    admitted = set()
    for offset in range(point.offset, LOG_END):
        delivery = ledger.deliver(offset)
        assert delivery in (Delivery.ADMITTED, Delivery.ALREADY_DONE)
        if delivery is Delivery.ADMITTED:
            admitted.add(offset)
    return set(EVERYTHING - admitted)


@given(progresses())
def test_progress_comes_back_as_it_was_committed(progress: Progress) -> None:
    point = progress.point()

    assert Progress.of(point) == progress
    assert point.offset == progress.committed
    assert done_by_consumer(point) == done_of(progress)


@given(progresses(), st.integers(0, LOG_END - 1))
def test_a_skipped_record_is_done_and_nothing_else_changes(progress: Progress, offset: int) -> None:
    before = done_of(progress)
    if offset in before:
        with pytest.raises(EditError, match="done already"):
            skip(progress, offset, LIMIT)
        return

    point = skip(progress, offset, LIMIT).point()

    assert done_by_consumer(point) == before | {offset}
    kept = [each for each in progress.failures if each.offset != offset]
    assert list(Progress.of(point).failures) == kept


@given(progresses(), st.integers(0, LOG_END - 1), st.integers(0, 200))
def test_a_replayed_range_is_done_again_and_nothing_else(
    progress: Progress, first: int, more: int
) -> None:
    last = min(first + more, LOG_END - 1)
    before, named = done_of(progress), set(range(first, last + 1))
    if not before & named:
        with pytest.raises(EditError, match="will be done anyway"):
            replay(progress, first, last, LIMIT)
        return

    point = replay(progress, first, last, LIMIT).point()

    assert done_by_consumer(point) == before - named


@given(progresses(), st.integers(0, LOG_END - 1))
def test_a_replay_is_undone_by_skips(progress: Progress, offset: int) -> None:
    if not progress.is_done(offset):
        return

    again = replay(progress, offset, offset, LIMIT)

    assert done_of(skip(again, offset, LIMIT)) == done_of(progress)


@given(progresses(), st.integers(0, LOG_END))
def test_a_seek_forwards_keeps_what_is_done_and_backwards_does_all_again(
    progress: Progress, offset: int
) -> None:
    point = seek(progress, offset).point()

    below = set(range(offset))
    if offset < progress.committed:
        assert done_by_consumer(point) == below
        assert Progress.of(point).failures == ()
    else:
        assert done_by_consumer(point) == done_of(progress) | below


@given(progresses(), st.integers(0, LOG_END), st.integers(0, LOG_END))
def test_unfinished_offsets_are_counted(progress: Progress, start: int, more: int) -> None:
    end = min(start + more, LOG_END)

    assert progress.unfinished_in(start, end) == len(set(range(start, end)) - done_of(progress))


def test_a_replay_that_the_map_cannot_hold_says_which_does() -> None:
    done = Progress((), 1_000_000)

    with pytest.raises(EditError, match=r"offset\.metadata\.max\.bytes") as refused:
        replay(done, 10, 900_000, LIMIT)

    said = str(refused.value)
    fits = int(said.split("from 10 on, to ")[1].split(" at most", maxsplit=1)[0])
    assert 2_000 < fits < 10_000
    assert replay(done, 10, fits, LIMIT).point().offset == 10
    with pytest.raises(EditError):
        replay(done, 10, fits + 1, LIMIT)
    # To do all of it again needs no map.
    assert "all to 999999 fits" in said
    assert replay(done, 10, 999_999, LIMIT).point() == (10, "")


@pytest.mark.parametrize("offset", [50_000, 10**15])
def test_a_skip_beyond_the_maps_reach_is_refused_at_once(offset: int) -> None:
    with pytest.raises(EditError, match="more than the completion map can span"):
        skip(Progress((), 0), offset, LIMIT)


def test_an_edited_map_has_room_for_the_failures_that_a_consumer_adds() -> None:
    done = Progress((), 100_000)
    for last in range(2_000, 3_000):
        try:
            point = replay(done, 0, last, LIMIT).point()
        except EditError:
            break
    ledger = PartitionLedger(point, LIMIT)
    for offset in range(last):
        assert ledger.deliver(offset) is Delivery.ADMITTED
        ledger.failed(offset, 9_000, 9_000)
    found = ledger.offset_and_metadata()

    assert found is not None
    assert LIMIT * 0.9 < len(found.metadata) <= LIMIT


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(EditError, match="before its start"):
        replay(Progress((), 100), 9, 8, LIMIT)
