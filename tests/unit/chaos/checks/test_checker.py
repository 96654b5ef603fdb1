from typing import Any

import pytest

from consumer.engine.offsets.completion_map import CompletionMap, encode
from tests.chaos.checks.checker import Checker
from tests.chaos.checks.promises import FaultWindow, Promises
from tests.chaos.load.records import Expectation

RESULT, BOTH = Expectation.RESULT, Expectation.BOTH


def checker(*, exactly_once: bool = False, **numbers: Any) -> Checker:
    return Checker(Promises(exactly_once=exactly_once, **numbers))


def test_a_complete_run_breaks_no_promise() -> None:
    seen = checker()
    for offset in range(3):
        seen.accepted((0, offset), RESULT, 1.0)
    for offset in range(3):
        seen.result((0, offset), 2.0)
    seen.committed(0, 3, "")
    verdict = seen.verdict()
    assert (verdict.accepted, verdict.lost, verdict.doubled) == (3, 0, 0)
    assert not verdict.violations


@pytest.mark.parametrize("expected", [e for e in Expectation if e is not Expectation.NONE])
def test_a_record_without_an_outcome_is_lost(expected: Expectation) -> None:
    seen = checker()
    seen.accepted((0, 7), expected, 1.0)
    verdict = seen.verdict()
    assert verdict.lost == 1
    assert verdict.violations["lost"] == 1


def test_a_failing_record_needs_a_dead_letter_and_a_result() -> None:
    seen = checker()
    seen.accepted((0, 7), BOTH, 1.0)
    seen.result((0, 7), 2.0)
    assert seen.unfinished_records == 1
    seen.dead_letter((0, 7), 2.0)
    assert seen.unfinished_records == 0
    assert not seen.verdict().violations


def test_tombstones_have_no_outcome() -> None:
    seen = checker()
    seen.accepted((0, 1), Expectation.NONE, 1.0)
    seen.committed(0, 2, "")
    assert seen.verdict().accepted == 0
    seen.result((0, 1), 2.0)
    assert seen.verdict().violations["wrong_outcome"] == 1


def test_an_outcome_before_its_record_was_read_counts() -> None:
    seen = checker()
    seen.result((0, 1), 2.0)
    seen.accepted((0, 1), RESULT, 1.0)
    assert seen.unfinished_records == 0
    assert not seen.verdict().violations


def test_an_outcome_of_no_record_is_a_violation() -> None:
    seen = checker(exactly_once=True)
    seen.result((0, 1), 2.0)
    assert seen.verdict().violations["outcome_of_nothing"] == 1


def test_a_committed_offset_must_not_cover_an_unfinished_record() -> None:
    seen = checker()
    seen.accepted((0, 4), RESULT, 1.0)
    seen.committed(0, 4, "")
    assert not seen.violations
    seen.committed(0, 5, "")
    assert seen.violations["covered_without_outcome"] == 1


def test_a_map_must_not_cover_an_unfinished_record() -> None:
    seen = checker()
    for offset in (4, 5, 6):
        seen.accepted((0, offset), RESULT, 1.0)
    seen.result((0, 6), 2.0)
    seen.committed(0, 4, encode(4, CompletionMap(6, (5,))))
    assert not seen.violations
    seen.committed(0, 4, encode(4, CompletionMap(6)))
    assert seen.violations["covered_without_outcome"] == 1


def test_metadata_over_its_limit_or_unreadable_is_a_violation() -> None:
    seen = checker(metadata_limit_characters=4)
    seen.committed(0, 1, "!!!!!")
    assert set(seen.violations) == {"metadata_over_limit", "unreadable_metadata"}


def test_exactly_once_allows_no_repeat_at_all() -> None:
    seen = checker(exactly_once=True)
    seen.accepted((0, 1), RESULT, 1.0)
    seen.fault(FaultWindow("kill", 1.5, 3.0, is_clean=False))
    seen.result((0, 1), 2.0)
    seen.result((0, 1), 2.5)
    verdict = seen.verdict()
    assert verdict.doubled == verdict.violations["doubled"] == 1


def test_at_least_once_repeats_around_an_unclean_fault() -> None:
    seen = checker(commit_interval_s=0.5, slack_s=1.0, settle_s=5.0)
    for offset in range(2):
        seen.accepted((0, offset), RESULT, 1.0)
        seen.result((0, offset), 9.0)
        seen.result((0, offset), 14.0)
    seen.fault(FaultWindow("kill", 10.0, 12.0, is_clean=False))
    verdict = seen.verdict()
    assert (verdict.doubled, verdict.unexplained) == (2, 0)
    assert not verdict.violations


@pytest.mark.parametrize(
    "window",
    [
        FaultWindow("a clean one", 10.0, 12.0, is_clean=True),
        FaultWindow("one long after the first outcome", 30.0, 32.0, is_clean=False),
        FaultWindow("one that was over", 1.0, 2.0, is_clean=False),
    ],
)
def test_a_repeat_that_nothing_explains_is_a_violation(window: FaultWindow) -> None:
    seen = checker(settle_s=5.0)
    seen.accepted((0, 1), RESULT, 1.0)
    seen.result((0, 1), 9.0)
    seen.result((0, 1), 14.0)
    seen.fault(window)
    verdict = seen.verdict()
    assert verdict.unexplained == verdict.violations["unexplained_duplicate"] == 1


def test_more_repeats_than_one_commit_interval_completes_are_too_many() -> None:
    seen = checker(commit_interval_s=0.5, slack_s=0.0, settle_s=10.0)
    for offset in range(10):
        seen.accepted((0, offset), RESULT, 1.0)
        seen.result((0, offset), 10.0 + offset)
        seen.result((0, offset), 30.0)
    seen.fault(FaultWindow("freeze", 10.0, 20.0, is_clean=False))
    assert seen.verdict().violations["too_many_duplicates"] == 1


def test_each_partition_has_its_own_interval() -> None:
    seen = checker(commit_interval_s=0.5, slack_s=0.0, settle_s=10.0)
    for offset in range(20):
        # Partition 1 completes all at once, partition 0 one record a second.
        for partition, at_s in ((0, 10.0 + offset), (1, 10.0)):
            seen.accepted((partition, offset), RESULT, 1.0)
            seen.result((partition, offset), at_s)
    for offset in range(2):
        seen.result((0, offset), 31.0)
    seen.fault(FaultWindow("freeze", 10.0, 20.0, is_clean=False))
    assert seen.verdict().violations["too_many_duplicates"] == 1


def test_the_nearest_fault_explains() -> None:
    seen = checker(commit_interval_s=0.5, slack_s=0.0, settle_s=10.0)
    for offset, at_s in ((0, 12.0), (1, 12.8)):
        seen.accepted((0, offset), RESULT, 1.0)
        seen.result((0, offset), at_s)
        seen.result((0, offset), 14.0)
    # One each, where both would be too many for either.
    seen.fault(FaultWindow("first", 10.0, 11.0, is_clean=False))
    seen.fault(FaultWindow("second", 13.0, 13.5, is_clean=False))
    assert not seen.verdict().violations


def test_a_moved_offset_permits_repeats_and_skips() -> None:
    seen = checker(exactly_once=True)
    for offset in range(10):
        seen.accepted((0, offset), RESULT, 1.0)
        if offset < 5:
            seen.result((0, offset), 2.0)
    seen.offset_moved(0, 5, "", 3)
    for offset in range(3, 10):
        seen.result((0, offset), 4.0)
    assert not seen.verdict().violations
    seen.result((0, 3), 5.0)
    assert seen.verdict().violations["doubled"] == 1


def test_an_offset_moved_forward_permits_losses() -> None:
    seen = checker()
    for offset in range(10):
        seen.accepted((0, offset), RESULT, 1.0)
    seen.offset_moved(0, 0, "", 6)
    seen.committed(0, 6, "")
    for offset in range(6, 10):
        seen.result((0, offset), 4.0)
    assert not seen.verdict().violations


def test_a_partition_that_stands_still_is_a_violation() -> None:
    seen = checker(stalled_after_s=10.0)
    seen.accepted((0, 1), RESULT, 100.0)
    seen.time_passed(109.0)
    assert not seen.violations
    seen.fault_begins()
    seen.time_passed(150.0)
    assert not seen.violations
    seen.fault(FaultWindow("any", 105.0, 150.0, is_clean=True))
    seen.time_passed(154.0)
    assert not seen.violations
    seen.time_passed(156.0)
    assert seen.verdict().stalled_partitions == 1


def test_faults_that_come_one_after_the_other_hide_no_stall() -> None:
    seen = checker(stalled_after_s=10.0)
    seen.accepted((0, 1), RESULT, 100.0)
    for start_s in range(101, 118, 2):
        seen.fault_begins()
        seen.fault(FaultWindow("any", start_s, start_s + 1.0, is_clean=True))
        seen.time_passed(start_s + 1.5)
    assert not seen.violations
    seen.time_passed(119.5)
    assert seen.verdict().stalled_partitions == 1


def test_a_fault_that_leaves_group_and_brokers_alone_stops_no_clock() -> None:
    seen = checker(stalled_after_s=10.0)
    seen.accepted((0, 1), RESULT, 100.0)
    seen.fault_begins(is_disturbing=False)
    seen.time_passed(109.0)
    assert not seen.violations
    seen.time_passed(111.0)
    assert seen.violations["stalled"] == 1


def test_a_partition_without_work_does_not_stand_still() -> None:
    seen = checker(stalled_after_s=10.0)
    seen.accepted((0, 1), RESULT, 100.0)
    seen.result((0, 1), 101.0)
    seen.time_passed(500.0)
    seen.accepted((0, 2), RESULT, 500.0)
    seen.time_passed(505.0)
    assert not seen.verdict().stalled_partitions


def test_open_transactions_count() -> None:
    seen = checker(exactly_once=True)
    seen.hanging(["results/0"])
    assert seen.verdict().hanging_transactions == 1


@pytest.mark.parametrize(("from_s", "is_explained"), [(3.0, True), (8.0, False), (0.0, False)])
def test_a_healthy_record_given_up_needs_a_replica_lost(from_s: float, is_explained: bool) -> None:
    seen = checker()
    seen.accepted((0, 1), RESULT, 2.0)
    seen.result((0, 1), 6.0, is_given_up=True)
    seen.model_down(from_s, from_s + 1.0)
    verdict = seen.verdict()
    assert verdict.given_up == 1
    assert bool(verdict.violations["given_up"]) is not is_explained


def test_a_failing_record_is_given_up_as_it_must() -> None:
    seen = checker()
    seen.result((0, 1), 6.0, is_given_up=True)
    seen.accepted((0, 1), BOTH, 2.0)
    seen.dead_letter((0, 1), 6.0)
    verdict = seen.verdict()
    assert verdict.given_up == 0
    assert not verdict.violations


def test_what_is_deleted_with_its_topic_may_be_lost() -> None:
    seen = checker(exactly_once=True)
    for offset in range(2):
        seen.accepted((0, offset), RESULT, 1.0)
    seen.deleted([0])
    assert seen.unfinished_records == 0
    # Read late, or never.
    seen.accepted((0, 2), RESULT, 1.0)
    seen.result((0, 3), 2.0)
    seen.result((0, 1), 2.0)
    assert seen.unfinished_records == 0
    verdict = seen.verdict()
    assert (verdict.accepted, verdict.lost) == (3, 0)
    assert not verdict.violations


def test_what_is_deleted_with_its_topic_comes_once_at_most() -> None:
    seen = checker(exactly_once=True)
    seen.accepted((0, 1), RESULT, 1.0)
    seen.deleted([0])
    seen.result((0, 1), 2.0)
    seen.result((0, 1), 3.0)
    assert seen.verdict().violations["doubled"] == 1


def test_a_topic_created_again_owes_each_of_its_records() -> None:
    seen = checker()
    seen.accepted((0, 0), RESULT, 1.0)
    seen.result((0, 0), 2.0)
    seen.deleted([0])
    seen.accepted((1_000, 0), RESULT, 3.0)
    assert seen.unfinished_of(1_000) == [0]
    assert seen.verdict().violations["lost"] == 1


def test_what_may_be_lost_is_not_waited_for() -> None:
    seen = checker()
    seen.excuse_loss([(0, 1)])
    seen.accepted((0, 1), RESULT, 1.0)
    assert seen.unfinished_records == 0
    assert not seen.verdict().violations


def test_the_time_of_a_partitions_latest_outcome() -> None:
    seen = checker()
    assert seen.latest_outcome_s(0) == 0.0
    for offset, at_s in enumerate((2.0, 4.0, 3.0)):
        seen.result((0, offset), at_s)
    assert seen.latest_outcome_s(0) == 4.0


@pytest.mark.parametrize(("uncommitted_s", "is_permitted"), [(3.0, True), (1.0, False)])
def test_what_could_not_be_committed_may_repeat(uncommitted_s: float, is_permitted: bool) -> None:
    seen = checker(commit_interval_s=0.5, slack_s=0.0, settle_s=1.0)
    for offset in range(6):
        seen.accepted((0, offset), RESULT, 1.0)
        seen.result((0, offset), 10.0 + offset)
        if offset < 4:
            seen.result((0, offset), 20.0)
    seen.fault(FaultWindow("cut", 10.0, 16.0, is_clean=False, uncommitted_s=uncommitted_s))
    assert bool(seen.verdict().violations["too_many_duplicates"]) is not is_permitted
