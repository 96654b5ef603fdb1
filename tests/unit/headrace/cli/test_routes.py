"""Topics, lag and the tables of routes."""

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from consumer.kafka.admin.admin import TopicInfo, TopicReport
from consumer.ports import Lag, OffsetAndMetadata
from consumer.replica.reports import RouteStatus
from headrace.cli.output import shorten
from headrace.cli.route_table import partition_tables, route_report, route_view
from headrace.status.partition_lag import PartitionLag, partition_lag
from headrace.topics import describe_report, wanted_topics
from schemas.settings.file import RouteSettings, Settings
from schemas.settings.models import EmbedderSettings


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
        "headrace.jobs": 1,
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
    point = None if committed is None else OffsetAndMetadata(committed, "")

    found = partition_lag(1, Lag(start, end, point), from_latest=from_latest)

    assert found.lag_records == lag
    assert found.committed == committed


def text_of(view: RenderableType, width: int = 200) -> str:
    screen = io.StringIO()
    Console(width=width, file=screen).print(view)
    return screen.getvalue()


def test_the_report_tells_what_is_known() -> None:
    settings = settings_of(route("a"))
    lags = {"r0": [PartitionLag(0, 0, 1_234, 34, 1_200), PartitionLag(1, 0, 5, None, 5)]}
    statuses = {"r0": RouteStatus(route="r0", rate_records_per_s=99.6, partitions=[0, 1])}

    report = route_report(settings, lags, statuses)

    assert report["routes"]["r0"]["lag_records"] == 1_205
    shown = text_of(route_view(report, 200, "title"))
    assert "1,205" in shown
    assert "100" in shown
    assert "2/2" in shown
    assert "none" in text_of(partition_tables(report, 200))


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
    rows = [each.split() for each in text_of(route_view(report, 200)).splitlines()]
    assert ["│", "lag,", "s", "│", "375", "│", "-", "│"] in rows
    assert ["│", "lag,", "tokens", "│", "154,500", "│", "-", "│"] in rows


def test_the_report_says_nothing_of_what_is_not_known() -> None:
    report = route_report(settings_of(route("a")), None, None)

    assert report["routes"]["r0"]["lag_records"] is None
    assert report["routes"]["r0"]["service"] is None
    assert "-/-" in text_of(route_view(report, 200))


def many_routes(routes: int) -> dict[str, Any]:
    """Return a report of busy routes with names as long as people give."""
    settings = Settings(
        models={"m": EmbedderSettings(kind="embedder", source="wheel:x")},
        routes={
            f"embeddings-production-eu-west-{number}": route(f"team-search.documents.{number}")
            for number in range(routes)
        },
    )
    names = list(settings.routes)
    lags = {name: [PartitionLag(0, 1_000, 9_999_999, 34, 9_999_965)] * 2 for name in names}
    statuses = {
        name: RouteStatus(
            route=name,
            rate_records_per_s=12_345,
            working_records_per_s=3,
            completed_records=123_456_789,
            refused_records=77,
            measured_records=1,
            measured_tokens=900,
            partitions=[0, 1],
        )
        for name in names
    }
    return route_report(settings, lags, statuses)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("routes", [1, 2, 4, 12])
def test_every_number_is_whole_at_any_width(routes: int, width: int) -> None:
    report = many_routes(routes)

    shown = text_of(route_view(report, width, "Kafka at [::1]:9092"), width)
    by_partition = text_of(partition_tables(report, width), width)

    assert shown.count("123,456,789") == routes
    assert shown.count("19,999,930") == routes
    assert "Kafka at [::1]:9092" in shown
    assert by_partition.count("9,999,965") == 2 * routes
    lines = [*shown.splitlines(), *by_partition.splitlines()]
    assert max(map(len, lines)) <= width
    # A cell that does not fit is wrapped to lines of a letter or two.
    assert not [line for line in lines if 0 < max(map(len, line.split())) < 3]


def test_routes_are_columns_while_they_fit() -> None:
    one_table = text_of(route_view(many_routes(4), 140), 140)
    blocks = text_of(route_view(many_routes(4), 80), 80)

    assert len([line for line in one_table.splitlines() if "refused (4xx)" in line]) == 1
    assert len([line for line in blocks.splitlines() if "refused (4xx)" in line]) == 4


def test_a_long_name_is_shortened_in_the_middle() -> None:
    assert shorten("embeddings-production-eu-west-1", 15) == "embeddi…-west-1"
    assert shorten("short", 5) == "short"
    assert [len(shorten("x" * 40, most)) for most in (1, 2, 3, 39)] == [1, 2, 3, 39]
