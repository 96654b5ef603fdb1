"""Of a flood of lines some are written, the rest is counted, and nothing grows with names."""

from hypothesis import given
from hypothesis import strategies as st

from headrace_client.logs.limits import OTHERS, LineLimits


def take(limits: LineLimits, kind: str, now_s: float, weight: int = 1) -> bool:
    return limits.takes(limits.kind_with_room(kind, now_s), now_s, weight)


def test_a_burst_goes_through_and_then_one_line_each_few_seconds() -> None:
    limits = LineLimits(burst=3, refill_s=60.0)

    assert [take(limits, "a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert [take(limits, "a", now_s) for now_s in (10.0, 20.0, 30.0)] == [False, True, False]


def test_a_kind_costs_no_other_kind_its_lines() -> None:
    limits = LineLimits(burst=1)
    for _ in range(1000):
        take(limits, "loud", 0.0)

    assert take(limits, "quiet", 0.0)


def test_what_was_left_out_is_due_after_a_minute_and_once() -> None:
    limits = LineLimits(burst=1, refill_s=1e9)
    for now_s in range(50):
        take(limits, "a", float(now_s), weight=2)

    assert limits.due(60.0) == []
    [left_out] = limits.due(61.0)
    assert (left_out.kind, left_out.count, left_out.within_s) == ("a", 98, 60.0)
    assert limits.due(1000.0) == []


def test_at_the_end_everything_is_due() -> None:
    limits = LineLimits(burst=1)
    take(limits, "a", 0.0)
    take(limits, "a", 0.0)

    assert [each.count for each in limits.due(0.5, all_of_them=True)] == [1]


def test_kinds_without_room_share_a_limit() -> None:
    limits = LineLimits(burst=2, most_kinds=10)
    written = sum(take(limits, f"topic-{number}", 0.0) for number in range(5000))

    assert len(limits) <= 11
    assert written == 12
    assert [each.kind for each in limits.due(0.0, all_of_them=True)] == [OTHERS]


def test_kinds_that_have_been_quiet_make_room() -> None:
    limits = LineLimits(burst=1, refill_s=60.0, most_kinds=2)
    for kind in ("a", "b"):
        take(limits, kind, 0.0)

    assert limits.kind_with_room("c", 1.0) == OTHERS
    assert limits.kind_with_room("c", 61.0) == "c"


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.floats(0, 5), st.integers(1, 100)),
        min_size=1,
        max_size=300,
    )
)
def test_each_line_is_written_or_counted_and_written_ones_are_bounded(
    lines: list[tuple[int, float, int]],
) -> None:
    limits = LineLimits(burst=4, refill_s=60.0, most_kinds=8)
    now_s, written, counted, left_out = 0.0, dict[object, int](), 0, 0
    for kind, pause_s, weight in lines:
        now_s += pause_s
        own = limits.kind_with_room(kind, now_s)
        if limits.takes(own, now_s, weight):
            written[own] = written.get(own, 0) + 1
        else:
            left_out += weight
        counted += sum(each.count for each in limits.due(now_s))
        assert len(limits) <= 9
    counted += sum(each.count for each in limits.due(now_s, all_of_them=True))

    assert counted == left_out
    # A bucket may be forgotten only when it was full again, so it never gives more than this.
    assert all(each <= 4 + now_s * 4 / 60 + 1e-6 for each in written.values())
