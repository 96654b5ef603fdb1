"""What kills have cost: journals, repeats, bars."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.cases.uneven_kill import (
    AT_LEAST_ONCE,
    EXACTLY_ONCE,
    SHORTEST_INTERVAL,
    VARIANTS,
    Variant,
    misses,
    summarize,
)
from benchmarks.journal import Computations, JournalReader, JournalWriter
from benchmarks.kills import KilledDrain, Repeats, count_repeats
from benchmarks.load import TopicContent


def repeats(**changes: Any) -> Repeats:
    unharmed: dict[str, Any] = {
        "lost": 0,
        "published_twice": 0,
        "computed_twice": 0,
        "in_flight_at_kills": 0,
        "in_course_at_kills": 0,
        "wall_s": 10.0,
        "first_to_last_s": 8.0,
    }
    return Repeats(**{**unharmed, **changes})


def results(*found: tuple[int, int]) -> TopicContent:
    return TopicContent(
        timestamps_ms=[time_ms for _, time_ms in found],
        keys=[b"%d" % number for number, _ in found],
    )


def test_a_journal_is_followed_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with JournalReader(path) as reader:
        writer = JournalWriter(path)
        writer.begin(3)
        assert reader.follow() == 0
        writer.end(3)
        writer.begin(12)

        assert reader.follow() == 1
    assert reader.computations == Computations(begun=[3, 12], ended=[3])
    assert reader.computations.in_course == {12}


def test_a_line_that_is_half_written_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"B1\nB1")
    with JournalReader(path) as reader:
        reader.follow()
        assert reader.computations.begun == [1]
        with path.open("ab") as journal:
            journal.write(b"2\n")

        reader.follow()

        assert reader.computations.begun == [1, 12]


def test_what_was_in_flight_at_a_kill_had_begun_and_published_nothing() -> None:
    drain = KilledDrain(
        started_ms=1_000,
        killed_ms=[2_000],
        lives=[
            # 0 was published, 1 ended but was not, 2 was in course; 3 waited.
            Computations(begun=[0, 1, 2], ended=[0, 1]),
            Computations(begun=[1, 2, 3], ended=[1, 2, 3]),
        ],
        results=results((0, 1_900), (1, 2_500), (2, 2_600), (3, 3_000)),
    )

    assert count_repeats(drain, 4) == Repeats(
        lost=0,
        published_twice=0,
        computed_twice=2,
        in_flight_at_kills=2,
        in_course_at_kills=1,
        wall_s=2.0,
        first_to_last_s=1.1,
    )


def test_a_record_that_is_published_and_then_killed_in_flight_was_in_flight_once() -> None:
    drain = KilledDrain(
        started_ms=1_000,
        killed_ms=[2_000, 3_000],
        lives=[
            Computations(begun=[0], ended=[0]),
            Computations(begun=[0], ended=[]),
            Computations(begun=[0], ended=[0]),
        ],
        results=results((0, 1_900), (0, 3_500)),
    )

    counted = count_repeats(drain, 1)

    assert (counted.published_twice, counted.computed_twice) == (1, 2)
    assert counted.computed_twice_in_flight == counted.in_flight_at_kills == 1


def test_what_is_lost_and_what_is_published_twice_is_counted() -> None:
    drain = KilledDrain(
        started_ms=1_000,
        killed_ms=[2_000],
        lives=[Computations(begun=[0], ended=[0]), Computations(begun=[0], ended=[0])],
        results=results((0, 1_900), (0, 2_500)),
    )

    counted = count_repeats(drain, 3)

    assert (counted.lost, counted.published_twice, counted.computed_twice) == (2, 1, 1)
    assert counted.in_flight_at_kills == 0
    assert counted.computed_twice_in_flight == 0


@pytest.mark.parametrize(
    ("variant", "most"), [(AT_LEAST_ONCE, 100), (SHORTEST_INTERVAL, 20), (EXACTLY_ONCE, 0)]
)
def test_so_many_may_be_published_twice(variant: Variant, most: int) -> None:
    allowed = repeats(published_twice=most, computed_twice=most)
    one_more = repeats(published_twice=most + 1, computed_twice=most + 1)

    assert misses(variant, allowed, 1_000) == []
    assert len(misses(variant, one_more, 1_000)) == 1


def test_nothing_may_be_lost_and_nothing_computed_twice_but_what_was_in_flight() -> None:
    assert misses(AT_LEAST_ONCE, repeats(computed_twice=7, in_flight_at_kills=7), 1_000) == []
    assert len(misses(AT_LEAST_ONCE, repeats(computed_twice=8, in_flight_at_kills=7), 1_000)) == 1
    assert len(misses(AT_LEAST_ONCE, repeats(lost=1), 1_000)) == 1


@pytest.mark.parametrize(("exactly_once_s", "holds"), [(12.0, True), (12.1, False)])
def test_without_kills_exactly_once_is_held_to_at_least_once(
    exactly_once_s: float, holds: bool
) -> None:
    result = summarize(
        {variant: [repeats()] for variant in VARIANTS},
        {
            AT_LEAST_ONCE: [repeats(first_to_last_s=8.0)],
            EXACTLY_ONCE: [repeats(first_to_last_s=exactly_once_s)],
        },
        1_000,
    )

    assert result.holds is holds
    assert bool(result.details["missed"]) is not holds
    assert result.series["exactly-once"].ratio == pytest.approx(10 / 53.4)
