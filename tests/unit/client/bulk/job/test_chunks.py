from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_client.bulk.job.chunks import Chunk, HeldRows, WritableRows
from headrace_client.bulk.job.request_lines import GroupedTexts, WholeBodies
from headrace_client.jobs import Request


def chunk(first_row: int, items: Sequence[int], first_item: int, urls: bool = False) -> Chunk:
    new = sorted({each for each in items if each >= first_item})
    return Chunk(
        row_numbers=np.arange(first_row, first_row + len(items), dtype=np.int64),
        items=np.array(items, dtype=np.int64),
        first_item=first_item,
        payloads=[b'"%d"' % each for each in new],
        urls=[f"/v1/{each}" for each in new] if urls else None,
        columns=pa.record_batch({"n": list(range(first_row, first_row + len(items)))}),
        size_bytes=100,
    )


def rows_of(taken: list[WritableRows]) -> list[int]:
    return [int(each.chunk.row_numbers[at]) for each in taken for at in each.positions]


def test_rows_are_taken_in_order_up_to_the_first_without_an_outcome() -> None:
    held = HeldRows(ordered=True)
    held.add(chunk(0, [0, 1, 0, -1, 2], 0))
    held.add(chunk(5, [3, 1, 4], 3))
    held.note_outcomes(1, 2)
    assert rows_of(held.take()) == []
    held.note_outcomes(0, 1)
    assert rows_of(held.take()) == [0, 1, 2, 3]
    assert held.start_of_rest() == (4, 2)
    held.note_outcomes(2, 4)
    assert rows_of(held.take()) == [4, 5, 6]
    assert held.start_of_rest() == (7, 4)
    held.note_outcomes(4, 5)
    assert rows_of(held.take()) == [7]
    assert held.start_of_rest() is None
    assert (len(held), held.rows, held.size_bytes) == (0, 0, 0)


def test_rows_are_taken_as_their_items_are_answered() -> None:
    held = HeldRows(ordered=False)
    held.add(chunk(0, [0, 1, 2, 0], 0))
    held.add(chunk(4, [3, 0, -1], 3))
    held.note_outcomes(3, 4)
    assert rows_of(held.take()) == [4, 6]
    assert held.start_of_rest() == (0, 0)
    assert held.written_above(0) == [(4, 5), (6, 7)]
    held.note_outcomes(0, 1)
    assert rows_of(held.take()) == [0, 3, 5]
    assert held.start_of_rest() == (1, 1)
    assert held.written_above(1) == [(3, 7)]


def test_rows_that_a_former_process_wrote_are_not_written_again() -> None:
    held = HeldRows(ordered=False, items_taken=1, written_rows=[(3, 5), (6, 7)])
    held.note_outcomes(3, 4)
    held.add(chunk(1, [1, 2, 0, 3], 1))
    held.add(chunk(5, [0, 3], 4))
    assert rows_of(held.take()) == [5]
    assert held.written_above(1) == [(3, 7)]


def test_there_is_room_until_the_chunks_that_are_held_have_the_bytes() -> None:
    held = HeldRows(ordered=True, most_bytes=150)
    held.add(chunk(0, [0, 1], 0))
    had_room = [held.has_room]
    held.add(chunk(2, [2, 3], 2))
    had_room.append(held.has_room)
    held.note_outcomes(0, 2)
    held.take()
    assert [*had_room, held.has_room] == [True, False, True]


def test_payloads_and_urls_are_found_by_item_over_chunks() -> None:
    held = HeldRows(ordered=True)
    held.add(chunk(0, [0, 1], 0, urls=True))
    held.add(chunk(2, [0, 0], 2, urls=True))
    held.add(chunk(4, [2, 3], 2, urls=True))
    assert held.payloads(1, 4) == [b'"1"', b'"2"', b'"3"']
    assert held.payloads(2, 3) == [b'"2"']
    assert held.url(3) == "/v1/3"


def test_a_line_has_the_texts_of_its_rows_and_the_parameters() -> None:
    held = HeldRows(ordered=True)
    held.add(chunk(0, [0, 1, 2], 0))
    lines = GroupedTexts("job-1", "/v1/embeddings", {"dimensions": 64})
    assert lines.line(Request(1, 3), held) == (
        b'{"custom_id":"job-1/1-3","method":"POST","url":"/v1/embeddings",'
        b'"body":{"input":["1","2"],"dimensions":64}}'
    )
    bare = GroupedTexts("job-1", "/v1/embeddings", {})
    assert bare.line(Request(0, 1, 2), held).endswith(b'"body":{"input":["0"]}}')
    assert b'"job-1/0-1/2"' in bare.line(Request(0, 1, 2), held)


@pytest.mark.parametrize("urls", [True, False])
def test_a_whole_body_goes_to_the_endpoint_that_its_row_names(urls: bool) -> None:
    held = HeldRows(ordered=True)
    held.add(chunk(0, [0, 1], 0, urls=urls))
    line = WholeBodies("j", "/v1/completions").line(Request(1, 2), held)
    endpoint = b"/v1/1" if urls else b"/v1/completions"
    assert line == (b'{"custom_id":"j/1-2","method":"POST","url":"%s","body":"1"}' % endpoint)


@given(
    rows=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    cuts=st.sets(st.integers(1, 59), max_size=6),
    ordered=st.booleans(),
    seed=st.randoms(use_true_random=False),
)
def test_every_row_is_taken_once_and_never_before_its_item(
    rows: list[int], cuts: set[int], ordered: bool, seed: object
) -> None:
    names: dict[int, int] = {}
    items = [names.setdefault(each, len(names)) for each in rows]
    held = HeldRows(ordered=ordered)
    bounds = [0, *sorted(each for each in cuts if each < len(rows)), len(rows)]
    first_item = 0
    for first, end in pairwise(bounds):
        held.add(chunk(first, items[first:end], first_item))
        first_item = max(first_item, *(each + 1 for each in items[first:end]))
    order = list(range(len(names)))
    if not ordered:
        seed.shuffle(order)  # type: ignore[attr-defined]
    answered: set[int] = set()
    taken: list[int] = []
    for item in order:
        held.note_outcomes(item, item + 1)
        answered.add(item)
        new = rows_of(held.take())
        assert all(items[row] in answered for row in new)
        taken += new
        rest = held.start_of_rest()
        if rest is not None:
            start, start_item = rest
            # What a checkpoint keeps: all rows below the start, and those above it, were taken.
            above = [row for a, b in held.written_above(start) for row in range(a, b)]
            assert sorted([*range(start), *above]) == sorted(taken)
            assert start_item == len(set(items[:start]))
    assert sorted(taken) == list(range(len(rows)))
    assert not ordered or taken == sorted(taken)
    assert len(held) == 0
