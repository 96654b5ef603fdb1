"""Topics, lag and the tables of routes."""

import io

import pytest
from rich.console import Console

from consumer.core.ports import CommitPoint, Lag
from consumer.kafka.admin import TopicInfo, TopicReport
from headrace.cli.route_table import MAX_ROUTE_COLUMNS, partition_table, route_report, route_table
from headrace.lag import PartitionLag, partition_lag
from headrace.topics import describe_report, wanted_topics
from schemas.model_settings import EmbedderSettings
from schemas.settings import RouteSettings, Settings
from schemas.status import RouteStatus


def settings_of(*routes: RouteSettings) -> Settings:
    return Settings(
        models={"m": EmbedderSettings(kind="embedder", source="wheel:x")},
        routes={f"r{number}": route for number, route in enumerate(routes)},
    )


def route(name: str, partitions: int = 4) -> RouteSettings:
    return RouteSettings(
        model="m",
        requests_topic=f"{name}.in",
        results_topic="out",
        dead_letters_topic="dead",
        group=name,
        topics={"partitions": partitions},
    )


def test_a_shared_topic_gets_the_most_partitions() -> None:
    wanted = wanted_topics(settings_of(route("a", 2), route("b", 8), route("c", 4)))

    assert {topic: info.partitions for topic, info in wanted.items()} == {
        "a.in": 2,
        "b.in": 8,
        "c.in": 4,
        "out": 8,
        "dead": 8,
    }


@pytest.mark.parametrize(
    ("is_created", "found", "expected"),
    [
        (True, 4, "created with 4 partitions"),
        (False, 4, "exists with 4 partitions"),
        (False, 2, "exists with 2 partitions where the settings say 4; left as it is"),
    ],
)
def test_what_was_done_about_a_topic_is_told(is_created: bool, found: int, expected: str) -> None:
    report = TopicReport("t", is_created, TopicInfo(4, 1), TopicInfo(found, 1))

    assert describe_report(report).startswith(expected)


@pytest.mark.parametrize(
    ("start", "end", "committed", "from_latest", "lag"),
    [
        pytest.param(0, 10, 4, False, 6, id="behind"),
        pytest.param(0, 10, 10, False, 0, id="level"),
        pytest.param(3, 10, None, False, 7, id="never committed"),
        pytest.param(3, 10, None, True, 0, id="never committed, starts at the end"),
        pytest.param(7, 10, 2, False, 3, id="expired before it was read"),
        pytest.param(0, 5, 9, False, 0, id="the topic was made anew"),
    ],
)
def test_lag(start: int, end: int, committed: int | None, from_latest: bool, lag: int) -> None:
    point = None if committed is None else CommitPoint(committed, "")

    found = partition_lag(1, Lag(start, end, point), from_latest=from_latest)

    assert found.lag_records == lag
    assert found.committed == committed


def text_of(table: object) -> str:
    screen = io.StringIO()
    Console(width=200, file=screen).print(table)
    return screen.getvalue()


def test_the_report_tells_what_is_known() -> None:
    settings = settings_of(route("a"))
    lags = {"r0": [PartitionLag(0, 0, 1_234, 34, 1_200), PartitionLag(1, 0, 5, None, 5)]}
    statuses = {"r0": RouteStatus(route="r0", rate_records_per_s=99.6, partitions=[0, 1])}

    report = route_report(settings, lags, statuses)

    assert report["routes"]["r0"]["lag_records"] == 1_205
    shown = text_of(route_table(report, "title"))
    assert "1,205" in shown
    assert "100" in shown
    assert "2/2" in shown
    assert "none" in text_of(partition_table(report))


def test_lag_is_also_told_in_seconds_and_in_tokens() -> None:
    lags = {"r0": [PartitionLag(0, 0, 600, 0, 600)], "r1": [PartitionLag(0, 0, 9, 0, 9)]}
    statuses = {
        "r0": RouteStatus(
            route="r0", working_records_per_s=1.6, measured_records=4, measured_tokens=1_030
        ),
        "r1": RouteStatus(route="r1"),
    }

    report = route_report(settings_of(route("a"), route("b")), lags, statuses)

    generating, idle = report["routes"]["r0"], report["routes"]["r1"]
    assert (generating["lag_s"], generating["lag_tokens"]) == (375.0, 154_500)
    assert (idle["lag_s"], idle["lag_tokens"]) == (None, None)
    rows = [each.split() for each in text_of(route_table(report)).splitlines()]
    assert ["│", "lag,", "s", "│", "375", "│", "-", "│"] in rows
    assert ["│", "lag,", "tokens", "│", "154,500", "│", "-", "│"] in rows


def test_the_report_says_nothing_of_what_is_not_known() -> None:
    report = route_report(settings_of(route("a")), None, None)

    assert report["routes"]["r0"]["lag_records"] is None
    assert report["routes"]["r0"]["service"] is None
    assert "-/-" in text_of(route_table(report))


def test_many_routes_are_rows() -> None:
    settings = settings_of(*(route(f"n{number}") for number in range(MAX_ROUTE_COLUMNS + 1)))

    assert len(route_table(route_report(settings, None, None)).rows) == MAX_ROUTE_COLUMNS + 1
