"""The frames of `headrace top`: what stands still is in each, and nothing is over the edge."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from headrace.cli.standing_view import add_overview, standing_view
from headrace.cli.top.lines import number, seconds
from headrace.cli.top.screen import frame
from headrace.overview.snapshot import Overview
from tests.overviews import a_route, an_overview


def plain(lines: list[Text]) -> list[str]:
    return [each.plain.rstrip() for each in lines]


@given(st.integers(1, 200), st.integers(1, 80), st.integers(0, 60))
def test_a_frame_fits_any_terminal(width: int, height: int, more: int) -> None:
    lines = frame(an_overview(more), width, height)

    assert len(lines) <= height
    assert all(cell_len(each.plain) <= max(width, 40) for each in lines)


def test_what_stands_still_is_first_and_says_why() -> None:
    lines = plain(frame(an_overview(37), 80, 24))

    assert lines[0].endswith("41 routes: 39 running, 1 paused, 1 standing still")
    headings = ("ROUTE", "STATE", "LEFT", "TO GO", "IN/S", "DONE/S", "FAIL/S", "P95", "CONS")
    assert lines[2].split() == " ".join(headings).split()
    assert lines[3].startswith("summarise ")
    assert "standing still" in lines[3]
    assert lines[4].startswith("  model qwen has no replica: 0 of 2 run: CUDA out of memory")
    more = next(each for each in lines if "more routes" in each)
    shown = sum("running" in each or "paused" in each for each in lines[3:] if "/2" in each)
    assert int(more.split()[1]) == 41 - 1 - shown


def test_routes_are_sorted_by_what_is_left() -> None:
    small, large = a_route("small"), a_route("large")
    assert small.lag is not None
    small = replace(small, lag=replace(small.lag, left_records=3))
    lines = plain(frame(Overview(at_ms=0, routes=[small, large]), 80))

    assert [each.split()[0] for each in lines[3:5]] == ["large", "small"]


def test_a_wide_terminal_has_more_columns() -> None:
    assert "OLDEST" not in plain(frame(an_overview(), 80))[2]
    assert "OLDEST" in plain(frame(an_overview(), 140))[2]


def test_without_a_limit_everything_is_there() -> None:
    lines = plain(frame(an_overview(37), 80))

    assert sum(each.startswith("route-") for each in lines) == 37
    assert not any(each.startswith("  and ") for each in lines)
    text = " ".join(each.strip() for each in lines)
    assert "nightly-" in text
    assert "a replica does 1099.0/s" in text


def test_a_small_terminal_still_has_the_models_and_jobs_where_there_is_room() -> None:
    lines = plain(frame(an_overview(37), 80, 20))
    assert any(each.startswith("MODEL") for each in lines)
    tiny = plain(frame(an_overview(37), 80, 6))
    assert any(each.startswith("summarise") for each in tiny)


def test_who_does_not_answer_is_named() -> None:
    overview = replace(an_overview(), unanswered=["Serve: no answer within 5 s"])
    lines = plain(frame(overview, 80, 24, trouble="no answer for 12 s: the board is away"))

    assert lines[1:3] == ["Serve: no answer within 5 s", "no answer for 12 s: the board is away"]


def test_control_characters_of_others_do_not_reach_the_terminal() -> None:
    overview = an_overview()
    job = replace(overview.jobs[0], name="x\x1b[2Jy", waits_for=["a\x07b"])
    text = "\n".join(plain(frame(replace(overview, jobs=[job]), 80)))

    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0341, "34 ms"),
        (0.0, "0 ms"),
        (1.24, "1.2 s"),
        (27.6, "28 s"),
        (7_200, "2 h"),
    ],
)
def test_times_are_short(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_unknown_numbers_are_no_zeros() -> None:
    assert number(None) == "-"
    assert number(0.0) == "0"


def report(*names: str) -> dict[str, object]:
    route = {"model": "m", "group": "g", "waits": [], "lag_records": 1, "service": None}
    return {"routes": {name: dict(route) for name in names}, "deployments": {}}


def test_status_tells_how_each_route_stands_and_keeps_its_keys() -> None:
    found = report("embed", "summarise", "not-there")
    add_overview(found, an_overview())

    routes = found["routes"]
    assert isinstance(routes, dict)
    assert routes["embed"]["state"] == "running"
    assert routes["embed"]["lag_records"] == 1
    assert routes["embed"]["latency"]["end_to_end"]["p95_s"] == 21.8
    assert routes["summarise"]["reasons"][0]["code"] == "no model replica"
    assert routes["not-there"]["state"] == "standing still"
    shown = standing_view(found).renderables
    lines = [each.plain for each in shown if isinstance(each, Text)]
    assert lines[0] == "embed: running"
    assert lines[1] == "summarise: standing still"
    assert lines[2].startswith("  model qwen has no replica")
    assert lines[-1].startswith("  the service that runs does not have it")
