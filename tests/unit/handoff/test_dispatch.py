"""How much goes out in one call, whatever the sizes are."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.dispatch import CALLS_PER_WINDOW, chunk_records, full_chunk_records

sizes = st.integers(min_value=0, max_value=5_000)
positive = st.integers(min_value=1, max_value=5_000)


def choose(**changes: int) -> int:
    given_values = {
        "queued": 1_000,
        "room_records": 80,
        "smallest_window": 80,
        "most_records": 256,
        **changes,
    }
    return chunk_records(**given_values)


@given(
    queued=sizes,
    room_records=st.integers(min_value=-1_000, max_value=5_000),
    smallest_window=positive,
    most_records=positive,
)
def test_a_chunk_is_within_every_bound_and_never_a_needless_scrap(**values: int) -> None:
    records = chunk_records(**values)
    full = max(1, min(values["most_records"], values["smallest_window"] // CALLS_PER_WINDOW))
    assert 0 <= records <= min(values["queued"], full)
    if records:
        assert records <= values["room_records"]
        assert records == full or records == values["queued"]
    else:
        assert values["queued"] == 0 or values["room_records"] < min(full, values["queued"])


@given(windows=st.lists(positive, min_size=1, max_size=5))
def test_a_backlog_fills_the_windows_but_for_less_than_one_chunk(windows: list[int]) -> None:
    room = sum(windows)
    while records := chunk_records(
        queued=10**9,
        room_records=room,
        smallest_window=min(windows),
        most_records=10**9,
    ):
        room -= records
    assert room < max(1, min(windows) // CALLS_PER_WINDOW)


def test_a_call_carries_a_part_of_the_window() -> None:
    assert choose() == 10
    # What ended is made up for as soon as one part of the window is free.
    assert choose(room_records=10) == 10
    assert choose(room_records=9) == 0


def test_a_window_of_few_records_is_filled_one_by_one() -> None:
    assert choose(smallest_window=5, room_records=1) == 1


@given(slots=st.integers(min_value=8, max_value=4_096))
def test_no_slot_of_a_generator_is_free_while_a_call_waits_to_be_full(slots: int) -> None:
    window = ceil(slots * 1.25)
    in_flight = window - full_chunk_records(window) + 1
    assert in_flight >= slots


@pytest.mark.parametrize(("queued", "records"), [(0, 0), (1, 1), (7, 7), (10, 10), (11, 10)])
def test_what_waits_goes_out_though_it_fills_no_chunk(queued: int, records: int) -> None:
    assert choose(queued=queued) == records
