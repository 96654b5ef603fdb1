"""A set of places keeps a bit for each."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.records.places import PlaceSet
from headrace_client.wire.names import Place

places = st.builds(
    Place,
    st.sampled_from(["a", "b"]),
    st.integers(0, 1),
    # Either side of the pages' borders.
    st.sampled_from([0, 1, 8_190, 8_191, 8_192, 8_193, 16_383, 16_384, 2**60]),
)


@given(st.lists(st.tuples(st.booleans(), places)))
def test_it_is_a_set(steps: list[tuple[bool, Place]]) -> None:
    found, expected = PlaceSet(), set[Place]()

    for is_add, place in steps:
        was_there = place in expected
        if is_add:
            assert found.add(place) is not was_there
            expected.add(place)
        else:
            assert found.discard(place) is was_there
            expected.discard(place)
        assert len(found) == len(expected)
        assert (place in found) is (place in expected)


def test_what_was_discarded_takes_no_memory() -> None:
    found = PlaceSet()
    for offset in range(100_000):
        found.add(Place("t", 0, offset))
    assert len(found._pages) == 13

    for offset in range(100_000):
        found.discard(Place("t", 0, offset))
    assert found._pages == {}
