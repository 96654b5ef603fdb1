"""What the harness of bulk jobs decides without a broker."""

import pytest

from tests.bulk_chaos.run import Target, draw_kills
from tests.bulk_chaos.stage import InFlight, Name, items_in_flight, parse_name


def test_a_schedule_is_that_of_its_seed_and_has_every_target() -> None:
    kills = draw_kills(7, 30)
    assert kills == draw_kills(7, 30)
    assert kills != draw_kills(8, 30)
    assert {kill.target for kill in kills} == set(Target)
    assert {kill.target for kill in draw_kills(7, 9, (Target.CLIENT,))} == {Target.CLIENT}


@pytest.mark.parametrize(
    ("custom_id", "name"),
    [
        ("docs-1/0-64", Name("docs-1", 0, 64, 1)),
        ("docs-1/r2/5-6/3", Name("docs-1/r2", 5, 6, 3)),
        ("hello", None),
    ],
)
def test_a_request_is_known_by_its_name(custom_id: str, name: Name | None) -> None:
    assert parse_name(custom_id) == name


def test_in_flight_is_what_was_published_and_not_committed() -> None:
    requests = {(0, offset): Name("docs", 4 * offset, 4 * offset + 4, 1) for offset in range(10)}
    requests[1, 0] = Name("docs", 100, 101, 1)
    kills = [InFlight({0: 2}, {0: 5, 1: 0}), InFlight({0: 9}, {0: 10, 1: 1})]
    assert items_in_flight(kills, requests) == 3 * 4 + 4 + 1
