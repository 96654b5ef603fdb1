"""No slot has two batches, batches are launched in order, and none waits for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_models.text.device.slots import Slot, SlotSchedule


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_batches_are_launched_in_the_order_of_their_slots(
    slots: int, steps: list[tuple[int, bool]]
) -> None:
    schedule = SlotSchedule(slots)
    taken: list[int] = []  # slots of batches that are not launched, in order
    for choice, fails in steps:
        slot = choice % slots
        match schedule.state(slot):
            case Slot.FREE:
                got = schedule.take()
                assert got is not None
                assert schedule.state(got) is Slot.STAGING
                taken.append(got)
            case Slot.STAGING if fails:
                schedule.free(slot)
                taken.remove(slot)
            case Slot.STAGING:
                schedule.staged(slot)
            case Slot.STAGED:
                assert schedule.may_launch(slot) == (taken[0] == slot)
                if schedule.may_launch(slot):
                    schedule.launch(slot)
                    taken.remove(slot)
                else:
                    with pytest.raises(ValueError, match="may not be launched"):
                        schedule.launch(slot)
            case Slot.LAUNCHED:
                schedule.free(slot)
    states = [schedule.state(slot) for slot in range(slots)]
    assert schedule.launched == states.count(Slot.LAUNCHED)
    assert len(taken) == states.count(Slot.STAGING) + states.count(Slot.STAGED)
    # Whatever happened, all can end.
    for slot in taken:
        if schedule.state(slot) is Slot.STAGING:
            schedule.staged(slot)
        assert schedule.may_launch(slot)
        schedule.launch(slot)
    for slot in range(slots):
        if schedule.state(slot) is Slot.LAUNCHED:
            schedule.free(slot)
    assert [schedule.take() for _ in range(slots)] == list(range(slots))
    assert schedule.take() is None


def test_a_slot_is_not_given_back_twice() -> None:
    schedule = SlotSchedule(1)
    with pytest.raises(ValueError, match="free already"):
        schedule.free(0)


def test_a_slot_is_staged_once() -> None:
    schedule = SlotSchedule(1)
    schedule.take()
    schedule.staged(0)
    with pytest.raises(ValueError, match="STAGED, not STAGING"):
        schedule.staged(0)
