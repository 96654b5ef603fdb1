"""The states of a record: which steps they allow, and what no sequence of steps can do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.record_state import IllegalStepError, RecordState, Step, next_state

UNDECIDED = set(RecordState) - {each for each in RecordState if each > RecordState.IN_FLIGHT}
BLOCKED = {RecordState.BLOCKED, RecordState.BLOCKED_DEPOSITING, RecordState.WITHHELD}
OVER = {RecordState.COMPLETE, RecordState.DROPPED}


def steps_from(state: RecordState) -> dict[Step, RecordState]:
    found = {}
    for step in Step:
        try:
            found[step] = next_state(state, step)
        except IllegalStepError:
            continue
    return found


@given(st.lists(st.sampled_from(Step), max_size=40))
def test_whatever_happens_a_record_has_one_outcome_and_one_end(steps: list[Step]) -> None:
    state, taken = RecordState.ARRIVED, []
    for step in steps:
        try:
            after = next_state(state, step)
        except IllegalStepError:
            continue
        assert state not in OVER
        assert not (state not in UNDECIDED and after in UNDECIDED), "what is decided stays decided"
        if after is RecordState.IN_FLIGHT:
            assert state not in BLOCKED, "one record of a key is on its way at a time"
        taken.append(step)
        state = after
    assert taken.count(Step.DECIDE) <= 1
    assert taken.count(Step.ACKNOWLEDGE) + taken.count(Step.DROP) <= 1
    if state is RecordState.COMPLETE:
        assert Step.DECIDE in taken
    if state in BLOCKED:
        assert taken.count(Step.BLOCK) == taken.count(Step.UNBLOCK) + 1


@pytest.mark.parametrize("state", sorted(set(RecordState) - OVER - {RecordState.ARRIVED}))
def test_every_state_that_lasts_can_end_and_be_given_to_the_next_owner(state: RecordState) -> None:
    assert next_state(state, Step.DROP) is RecordState.DROPPED
    reached = {state}
    for _ in RecordState:
        reached |= {after for each in reached for after in steps_from(each).values()}
    assert RecordState.COMPLETE in reached


@pytest.mark.parametrize("state", sorted(OVER))
def test_what_is_over_allows_no_step(state: RecordState) -> None:
    assert steps_from(state) == {}


def test_every_state_can_be_reached() -> None:
    reached = {RecordState.ARRIVED}
    for _ in RecordState:
        reached |= {after for each in reached for after in steps_from(each).values()}
    assert reached == set(RecordState)


def test_an_illegal_step_names_the_state_and_the_step() -> None:
    with pytest.raises(IllegalStepError, match="COMPLETE cannot DISPATCH"):
        next_state(RecordState.COMPLETE, Step.DISPATCH)
