from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.faults.schedule import CLEAN, ONE_NODE, THREE_NODES, Kind, count_by_kind, draw


@given(st.integers(), st.integers(0, 200))
def test_a_seed_and_a_count_give_the_same_schedule(seed: int, count: int) -> None:
    faults = draw(seed, count, ONE_NODE, "at_least_once")
    assert faults == draw(seed, count, ONE_NODE, "at_least_once")
    assert [fault.number for fault in faults] == list(range(1, count + 1))
    assert sum(count_by_kind(faults).values()) == count


@given(st.integers())
def test_every_kind_comes_where_there_is_room(seed: int) -> None:
    kinds = {fault.kind for fault in draw(seed, len(ONE_NODE), ONE_NODE)}
    assert kinds == set(ONE_NODE)
    assert len({fault.kind for fault in draw(seed, 5, ONE_NODE)}) == 5


def test_labels_set_schedules_apart() -> None:
    assert draw(1, 20, ONE_NODE, "a") != draw(1, 20, ONE_NODE, "b")


def test_the_stages_have_all_kinds() -> None:
    assert set(ONE_NODE) | set(THREE_NODES) == set(Kind)
    assert Kind.CONSUMER_KILL not in CLEAN
