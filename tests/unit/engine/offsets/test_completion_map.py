"""Properties of the completion map's codec."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.offsets.completion_map import (
    CompletionMap,
    CompletionMapError,
    RecordFailures,
    count_incomplete,
    decode,
    encode,
    log_id_of,
    worst_case_characters,
    worst_of,
)
from consumer.ports import OffsetAndMetadata

offsets = st.integers(min_value=0, max_value=2**62)


@st.composite
def maps(draw: st.DrawFn) -> tuple[int, CompletionMap]:
    committed = draw(offsets)
    incomplete = sorted(
        committed + distance
        for distance in draw(st.sets(st.integers(min_value=1, max_value=5_000), max_size=300))
    )
    lowest = incomplete[-1] if incomplete else committed
    return committed, CompletionMap(lowest + draw(st.integers(1, 10**12)), tuple(incomplete))


@given(maps())
def test_a_map_comes_back_as_it_was(case: tuple[int, CompletionMap]) -> None:
    committed, completion_map = case
    metadata = encode(committed, completion_map)
    assert decode(committed, metadata) == completion_map
    counted = completion_map.highest_completed, len(completion_map.incomplete)
    assert count_incomplete(committed, metadata) == counted


@given(maps(), st.binary(min_size=4, max_size=4))
def test_the_log_that_it_is_of_stands_beside_it(
    case: tuple[int, CompletionMap], log_id: bytes
) -> None:
    committed, completion_map = case
    of_log = replace(completion_map, log_id=log_id)
    metadata = encode(committed, of_log)

    assert decode(committed, metadata) == of_log
    assert log_id_of(OffsetAndMetadata(committed, metadata)) == log_id
    # Its room is asked for as that of failures is.
    bound = worst_case_characters(
        len(completion_map.incomplete) + 1, completion_map.highest_completed - committed, 4
    )
    assert len(metadata) <= bound


@pytest.mark.parametrize("metadata", ["", "not ours", encode(5, CompletionMap(7, (6,)))])
def test_a_point_that_does_not_say_of_which_log_it_is(metadata: str) -> None:
    assert log_id_of(OffsetAndMetadata(5, metadata)) == b""


@given(maps())
def test_the_worst_case_bounds_every_encoding(case: tuple[int, CompletionMap]) -> None:
    committed, completion_map = case
    span = completion_map.highest_completed - committed
    # The lowest incomplete one is the committed offset itself.
    bound = worst_case_characters(len(completion_map.incomplete) + 1, span)
    assert len(encode(committed, completion_map)) <= bound


@given(
    st.integers(2, 2_000),
    st.integers(0, 100_000),
    st.data(),
)
def test_the_bound_grows_with_records_so_it_covers_every_subset(
    records: int, more_span: int, data: st.DataObject
) -> None:
    span = records + more_span
    fewer = data.draw(st.integers(1, records))
    assert worst_case_characters(fewer, span) <= worst_case_characters(records, span)


@given(maps(), st.data())
def test_a_damaged_map_is_refused(case: tuple[int, CompletionMap], data: st.DataObject) -> None:
    committed, completion_map = case
    encoded = encode(committed, completion_map)
    position = data.draw(st.integers(0, len(encoded) - 2))
    other = data.draw(st.sampled_from("ABCDEFGHabcdefgh0123456789-_"))
    damaged = encoded[:position] + other + encoded[position + 1 :]
    if damaged != encoded:
        for read in (decode, count_incomplete):
            with pytest.raises(CompletionMapError):
                read(committed, damaged)


@given(maps(), st.integers(1, 1000))
def test_a_map_does_not_fit_another_offset(case: tuple[int, CompletionMap], moved: int) -> None:
    committed, completion_map = case
    with pytest.raises(CompletionMapError):
        decode(committed + moved, encode(committed, completion_map))


@given(offsets, st.text(min_size=1, max_size=200))
def test_another_programs_metadata_is_refused_not_misread(committed: int, metadata: str) -> None:
    with pytest.raises(CompletionMapError):
        decode(committed, metadata)


def test_empty_metadata_is_no_map() -> None:
    assert decode(17, "") is None
    assert count_incomplete(17, "") is None


@pytest.mark.parametrize(
    ("incomplete", "span", "most_characters"),
    [(256, 20_000, 450), (1_000, 1_000_000, 2_700), (2_048, 4_096, 750)],
)
def test_sizes_are_what_the_design_counted_on(
    incomplete: int, span: int, most_characters: int
) -> None:
    step = span // incomplete
    spread = tuple(range(step, span, step))
    assert len(encode(0, CompletionMap(span, spread))) <= most_characters


@st.composite
def failing_maps(draw: st.DrawFn) -> tuple[int, CompletionMap]:
    committed, completion_map = draw(maps())
    distances = draw(st.sets(st.integers(0, 10**6), min_size=1, max_size=80))
    failures = tuple(
        RecordFailures(committed + each, draw(st.integers(0, 16_383)), draw(st.integers(0, 200)))
        for each in sorted(distances)
    )
    if draw(st.booleans()):
        return committed, CompletionMap(committed, (), failures)
    return committed, replace(completion_map, failures=failures)


@given(failing_maps())
def test_failures_come_back_beside_the_map(case: tuple[int, CompletionMap]) -> None:
    committed, completion_map = case
    assert decode(committed, encode(committed, completion_map)) == completion_map


@given(failing_maps(), st.integers(0, 400))
def test_the_worst_case_bounds_failures_in_their_room_too(
    case: tuple[int, CompletionMap], room_bytes: int
) -> None:
    committed, completion_map = case
    kept = worst_of(committed, completion_map.failures, room_bytes)
    assert kept == tuple(sorted(kept))
    span = completion_map.highest_completed - committed
    bound = worst_case_characters(len(completion_map.incomplete) + 1, span, room_bytes)
    assert len(encode(committed, replace(completion_map, failures=kept))) <= bound or not kept
    left_out = set(completion_map.failures) - set(kept)
    if kept and left_out:
        fewest = min(each.strikes for each in kept)
        assert all(each.strikes <= fewest for each in left_out)
    if 5 + 8 * len(completion_map.failures) <= room_bytes:
        assert not left_out


def test_a_map_without_failures_is_written_as_earlier_releases_read_it() -> None:
    assert encode(10, CompletionMap(20, (12, 14))) == "fWvs5hAKAQE"


def test_counts_beyond_their_room_are_cut_not_refused() -> None:
    encoded = encode(0, CompletionMap(0, (), (RecordFailures(0, 10**9, 10**9),)))
    decoded = decode(0, encoded)
    assert decoded is not None
    assert decoded.failures == (RecordFailures(0, 0x3FFF, 0x3FFF),)
