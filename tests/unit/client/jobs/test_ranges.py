"""Ranges against plain sets."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from headrace_client.jobs import RangeSet

_RANGES = st.tuples(st.integers(0, 40), st.integers(1, 10)).map(lambda r: (r[0], r[0] + r[1]))
_CHANGES = st.lists(st.tuples(st.booleans(), _RANGES), max_size=25)


def _make(changes: list[tuple[bool, tuple[int, int]]]) -> tuple[RangeSet, set[int]]:
    ranges, items = RangeSet(), set[int]()
    for is_added, (first, end) in changes:
        if is_added:
            ranges.add(first, end)
            items |= set(range(first, end))
        else:
            ranges.remove(first, end)
            items -= set(range(first, end))
    return ranges, items


@given(changes=_CHANGES)
def test_ranges_hold_the_items_of_a_set_and_never_touch(
    changes: list[tuple[bool, tuple[int, int]]],
) -> None:
    ranges, items = _make(changes)
    pairs = list(ranges)
    assert {item for first, end in pairs for item in range(first, end)} == items
    assert all(a[1] < b[0] for a, b in itertools.pairwise(pairs))
    assert all(first < end for first, end in pairs)
    assert ranges.items == len(items)
    assert ranges.end == max(items, default=-1) + 1
    assert bool(ranges) is bool(items)
    assert ranges.prefix == next(i for i in range(100) if i not in items)


@given(changes=_CHANGES, asked=_RANGES)
def test_questions_are_answered_as_by_a_set(
    changes: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]
) -> None:
    ranges, items = _make(changes)
    wanted = set(range(*asked))
    assert ranges.covers(*asked) is (wanted <= items)
    missing = ranges.missing(*asked)
    assert {i for first, end in missing for i in range(first, end)} == wanted - items
    assert ranges.next_missing(asked[0]) == next(i for i in range(asked[0], 100) if i not in items)
    starts = [first for first, _ in ranges if first >= asked[0]]
    assert ranges.next_start(asked[0]) == (starts[0] if starts else None)
    kept = [each for each in ranges if each[1] > asked[0]]
    ranges.drop_below(asked[0])
    assert list(ranges) == kept
