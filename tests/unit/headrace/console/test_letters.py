"""Which offsets are read of many dead letters, and which are replayed."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.console.sources.letters import letter_topics, narrowed
from headrace.console.sources.newest_letters import from_the_end, newest_ranges
from headrace.dead_letters.handled import HandledOffsets
from headrace.dead_letters.inbox import Inbox
from headrace.records.reading import LogRange
from headrace_client.wire.names import Place

ranges = st.dictionaries(
    st.integers(0, 9),
    st.tuples(st.integers(0, 50), st.integers(0, 500)).map(
        lambda each: LogRange(each[0], each[0] + each[1])
    ),
    max_size=8,
)


@given(ranges, st.integers(1, 400))
def test_the_newest_are_read_and_no_more_than_allowed(
    whole: dict[int, LogRange], most: int
) -> None:
    read = newest_ranges(whole, most)
    assert read.keys() == whole.keys()
    sizes = {number: each.end - each.start for number, each in read.items()}
    for number, each in read.items():
        assert whole[number].start <= each.start <= each.end == whole[number].end
    wanted = sum(each.end - each.start for each in whole.values())
    assert sum(sizes.values()) == min(most, wanted)
    # A partition that was cut has no less than another one.
    cut = [size for number, size in sizes.items() if read[number].start > whole[number].start]
    assert not cut or max(sizes.values()) - min(cut) <= 1


@given(ranges, st.integers(1, 3_000))
def test_pieces_from_the_end_are_the_newest_once(whole: dict[int, LogRange], most: int) -> None:
    pieces = from_the_end(whole, most)
    read = [
        (number, offset)
        for piece in pieces
        for number, each in piece.items()
        for offset in range(each.start, each.end)
    ]
    expected = {
        (number, offset)
        for number, each in newest_ranges(whole, most).items()
        for offset in range(each.start, each.end)
    }
    assert len(read) == len(set(read))
    assert set(read) == expected


def test_only_the_span_of_what_was_chosen_is_read_to_replay_it() -> None:
    inbox = Inbox(
        topic="dead",
        routes=("r",),
        ranges={0: LogRange(10, 90), 1: LogRange(0, 50), 2: LogRange(5, 9)},
        handled={number: HandledOffsets() for number in range(3)},
    )
    chosen = frozenset(
        {Place("dead", 0, 30), Place("dead", 0, 44), Place("other", 1, 3), Place("dead", 2, 70)}
    )
    found = narrowed(inbox, chosen)
    assert found.ranges[0] == LogRange(30, 45)
    for number in (1, 2):
        assert found.ranges[number].start >= found.ranges[number].end
    # Partitions without a chosen one are not read at all.
    for number, each in found.unhandled_ranges().items():
        assert number == 0 or each.start >= each.end


def test_routes_may_share_a_topic() -> None:
    found = letter_topics({"a": ("dead", "in-a"), "b": ("dead", "in-b"), "c": ("own", "in-c")})
    assert {each.topic: dict(each.requests_topics) for each in found} == {
        "dead": {"a": "in-a", "b": "in-b"},
        "own": {"c": "in-c"},
    }
