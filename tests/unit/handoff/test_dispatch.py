"""How much goes out in one call, whatever the sizes are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.dispatch import chunk_records

sizes = st.integers(min_value=0, max_value=5_000)
positive = st.integers(min_value=1, max_value=5_000)


def choose(**changes: int) -> int:
    given_values = {
        "queued": 1_000,
        "room_records": 80,
        "smallest_window": 80,
        "most_records": 256,
        "calls_per_window": 4,
        **changes,
    }
    return chunk_records(**given_values)


@given(
    queued=sizes,
    room_records=st.integers(min_value=-1_000, max_value=5_000),
    smallest_window=positive,
    most_records=positive,
    calls_per_window=st.integers(min_value=1, max_value=64),
)
def test_a_chunk_is_within_every_bound_and_never_a_needless_scrap(**values: int) -> None:
    records = chunk_records(**values)
    full = max(
        1, min(values["most_records"], values["smallest_window"] // values["calls_per_window"])
    )
    assert 0 <= records <= min(values["queued"], full)
    if records:
        assert records <= values["room_records"]
        assert records == full or records == values["queued"]
    else:
        assert values["queued"] == 0 or values["room_records"] < min(full, values["queued"])


@given(windows=st.lists(positive, min_size=1, max_size=5), calls=st.sampled_from([4, 32]))
def test_a_backlog_fills_the_windows_but_for_less_than_one_chunk(
    windows: list[int], calls: int
) -> None:
    room = sum(windows)
    while records := chunk_records(
        queued=10**9,
        room_records=room,
        smallest_window=min(windows),
        most_records=10**9,
        calls_per_window=calls,
    ):
        room -= records
    assert room < max(1, min(windows) // calls)


def test_many_calls_to_a_window_are_small_ones() -> None:
    assert choose(calls_per_window=4) == 20
    assert choose(calls_per_window=32) == 2
    # What ended is made up for as soon as one part of the window is free.
    assert choose(calls_per_window=32, room_records=2) == 2
    assert choose(calls_per_window=4, room_records=2) == 0


@pytest.mark.parametrize(("queued", "records"), [(0, 0), (1, 1), (7, 7), (20, 20), (21, 20)])
def test_what_waits_goes_out_though_it_fills_no_chunk(queued: int, records: int) -> None:
    assert choose(queued=queued) == records
