"""What a consumer does next, whatever comes in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.pausing import Turn, next_turn


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_every_change_is_followed_in_one_turn_and_the_end_comes_out_of_the_group(
    wishes: list[tuple[bool, bool]],
) -> None:
    is_member = is_ending = False
    for is_paused, ends in wishes:
        is_ending = is_ending or ends
        for _ in range(2):
            turn = next_turn(is_member=is_member, is_paused=is_paused, is_ending=is_ending)
            if turn is Turn.JOIN:
                assert not is_member
                assert not is_paused
                assert not is_ending
                is_member = True
            elif turn is Turn.LEAVE:
                assert is_member
                is_member = False
        assert is_member == (not is_paused and not is_ending)
        assert turn is (Turn.END if is_ending else Turn.STAY)
