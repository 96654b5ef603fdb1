"""Plans of changed offsets: what stands in the way, and what they count."""

from datetime import UTC, datetime

import pytest

from consumer.autoscaling.lag import begins_at_end
from consumer.engine.offsets.progress import Progress
from consumer.ports import Lag, OffsetAndMetadata, TopicPartition
from headrace.errors import UserError
from headrace.offsets import edits
from headrace.offsets.edits import Log, Target
from headrace.offsets.standing import metadata_dict, standings, summarise

LIMIT = 4096
OURS, ANOTHERS = b"ours", b"othr"
MAPPED = Progress((50, 60), 81, (), OURS).point()


def log(
    *committed: OffsetAndMetadata | None,
    start: int = 10,
    end: int = 100,
    from_latest: bool = False,
    log_id: bytes = OURS,
    blocked: int = 0,
) -> Log:
    lags = {
        TopicPartition("t", number): Lag(start, end - blocked, point, end)
        for number, point in enumerate(committed)
    }
    begins = begins_at_end(lags, from_latest=from_latest)
    return Log(lags=lags, begins_at_end=begins, log_id=log_id, limit_characters=LIMIT)


def of(point: OffsetAndMetadata) -> Progress:
    return Progress.of(point)


@pytest.mark.parametrize(
    ("target", "offset"),
    [
        (Target(offset=70), 70),
        (Target(is_earliest=True), 10),
        (Target(is_latest=True), 100),
        (Target(by=-30), 20),
        (Target(time=datetime(2026, 11, 30, tzinfo=UTC)), 42),
    ],
)
def test_a_group_goes_on_where_it_is_told(target: Target, offset: int) -> None:
    (edit,) = edits.seek(log(OffsetAndMetadata(50, "")), target, [], {0: 42})

    assert edit.after.offset == offset
    assert of(edit.after).log_id == OURS
    assert edit.given_up == max(0, offset - 50)


def test_a_time_that_no_record_has_is_the_end() -> None:
    target = Target(time=datetime(2040, 1, 1, tzinfo=UTC))
    (edit,) = edits.seek(log(MAPPED), target, [], {0: -1})

    assert edit.after.offset == 100


def test_a_seek_counts_what_is_given_up_and_what_is_done_again() -> None:
    (forwards,) = edits.seek(log(MAPPED), Target(offset=70), [], {})
    (backwards,) = edits.seek(log(MAPPED), Target(offset=20), [], {})

    # 50 and 60 were open; 70 to 80 are done and stay so, so the next open offset is 81.
    assert (forwards.given_up, forwards.again, forwards.after.offset) == (2, 0, 81)
    assert (backwards.given_up, backwards.again) == (0, 59)
    assert of(backwards.after) == Progress((), 20, (), OURS)


@pytest.mark.parametrize("offset", [9, 101])
def test_a_target_outside_of_the_log_is_refused_with_the_bounds(offset: int) -> None:
    with pytest.raises(UserError, match="between 10 and 100"):
        edits.seek(log(MAPPED), Target(offset=offset), [], {})


def test_of_many_partitions_all_are_refused_and_some_are_named() -> None:
    many = log(*[None] * 9)

    with pytest.raises(UserError, match="and 4 more partitions"):
        edits.seek(many, Target(by=1), [], {})
    assert len(edits.seek(many, Target(is_latest=True), [], {})) == 9


@pytest.mark.parametrize("offset", [9, 100])
def test_a_record_outside_of_the_log_is_neither_skipped_nor_replayed(offset: int) -> None:
    with pytest.raises(UserError, match="the log has 10 to 99"):
        edits.skip(log(MAPPED), 0, offset)
    with pytest.raises(UserError, match="the log has 10 to 99"):
        edits.replay(log(MAPPED), 0, offset, offset)


def test_a_skip_marks_one_record() -> None:
    edit = edits.skip(log(MAPPED), 0, 50)

    assert of(edit.after) == Progress((60,), 81, (), OURS)
    assert (edit.again, edit.given_up) == (0, 0)


def test_a_replay_counts_what_is_done_again() -> None:
    edit = edits.replay(log(MAPPED), 0, 45, 50)

    assert edit.again == 5
    assert of(edit.after) == Progress((45, 46, 47, 48, 49, 50, 60), 81, (), OURS)


def test_without_a_commit_an_edit_starts_where_the_route_would_begin() -> None:
    earliest = edits.skip(log(None), 0, 12)
    latest = edits.seek(log(None, from_latest=True), Target(offset=100), [], {})

    assert of(earliest.after) == Progress((10, 11), 13, (), OURS)
    assert latest[0].given_up == 0


def test_a_commit_of_another_topic_or_program_is_no_base_but_a_seek_gets_out() -> None:
    foreign = OffsetAndMetadata(50, "another program's")
    old = Progress((50, 60), 81, (), ANOTHERS).point()
    for point, why in ((foreign, "not base64url"), (old, "deleted and created again")):
        with pytest.raises(UserError, match=why):
            edits.skip(log(point), 0, 50)
        (edit,) = edits.seek(log(point), Target(offset=50), [], {})
        assert of(edit.after) == Progress((), 50, (), OURS)
        assert edit.is_change


def test_exactly_one_target_is_named() -> None:
    for wrong in ({}, {"offset": 1, "is_latest": True}, {"by": 0, "is_earliest": True}):
        with pytest.raises(UserError, match="one of --to-offset"):
            Target(**wrong)  # type: ignore[arg-type] # the tests' own
    assert Target(offset=0).offset == 0


def test_a_partition_that_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match="no partition 7; the topic has 2"):
        edits.seek(log(MAPPED, None), Target(is_latest=True), [0, 7], {})


def test_what_is_left_is_told_apart_from_the_lag() -> None:
    (mapped, none) = standings(log(MAPPED, None).lags, from_latest=False)

    assert (mapped.lag, mapped.left, mapped.done_above) == (50, 21, 29)
    assert (mapped.committed, mapped.oldest_unfinished) == (50, 50)
    assert (none.committed, none.lag, none.left) == (None, 90, 90)
    total = summarise([mapped, none], LIMIT)
    assert (total.lag, total.left, total.without_commit) == (140, 111, 1)
    assert 0 < total.fullest_map_share < 0.01


def test_done_expired_and_reset_partitions_are_shown_as_they_are() -> None:
    lags = log(
        OffsetAndMetadata(100, ""), OffsetAndMetadata(3, ""), OffsetAndMetadata(500, "")
    ).lags
    done, expired, beyond = standings(lags, from_latest=False)

    assert (done.left, done.oldest_unfinished) == (0, None)
    assert (expired.left, expired.oldest_unfinished, expired.basis) == (90, 10, "expired")
    assert (beyond.left, beyond.lag, beyond.basis) == (0, 0, "beyond_end")


def test_metadata_is_decoded() -> None:
    (lag,) = log(MAPPED).lags.values()
    decoded = metadata_dict(lag)

    assert decoded["topic_checksum"] == OURS.hex()
    assert decoded["highest_completed"] == 80
    assert decoded["unfinished"] == [50, 60]
    (foreign,) = log(OffsetAndMetadata(1, "x")).lags.values()
    assert "another program" in metadata_dict(foreign)["error"]


def test_no_edit_commits_beyond_an_open_transaction_where_reading_ends() -> None:
    behind = log(OffsetAndMetadata(50, ""), blocked=20)
    late = Target(time=datetime(2026, 11, 30, tzinfo=UTC))
    for target, first_since in ((Target(is_latest=True), -1), (late, -1), (late, 90)):
        (edit,) = edits.seek(behind, target, [], {0: first_since})
        assert (edit.after.offset, edit.given_up, edit.blocked) == (80, 30, 20)
    assert edits.seek(behind, Target(offset=79), [], {})[0].blocked == 0

    for target in (Target(offset=90), Target(by=40)):
        with pytest.raises(UserError, match="between 10 and 80: an open transaction begins at 80"):
            edits.seek(behind, target, [], {})
    with pytest.raises(UserError, match=r"to 79: an open transaction .* hides 20 offsets"):
        edits.skip(behind, 0, 85)

    unbegun = log(None, from_latest=True, blocked=20)
    (edit,) = edits.seek(unbegun, Target(is_latest=True), [], {})
    (begun,) = edits.beginning(unbegun).values()
    assert edit.after.offset == begun.offset == 80
