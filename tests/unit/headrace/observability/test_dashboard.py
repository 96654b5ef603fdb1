"""The dashboard asks for metrics that there are, and its panels do not overlap."""

import re
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from headrace.cli.render import render_app
from headrace.observability.dashboard import dashboard, panels
from schemas.metrics import ALL

QUERIES = [
    pytest.param(query, id=f"{panel.title}: {legend}")
    for row in panels().values()
    for panel in row
    for legend, query in panel.queries.items()
]


@pytest.mark.parametrize("query", QUERIES)
def test_each_query_asks_for_a_metric_of_the_table(query: str) -> None:
    by_name = {each.exported: each for each in ALL}
    (name,) = set(re.findall(r"ray_headrace_\w+", query))
    assert name in by_name
    kind = by_name[name].kind
    assert ("rate(" in query) is (kind != "gauge")
    assert ("histogram_quantile(" in query) is (kind == "histogram")


def test_each_metric_that_stands_for_trouble_is_on_it() -> None:
    asked = " ".join(query.values[0] for query in QUERIES)  # type: ignore[misc]
    trouble = {
        *("dead_letter_records", "retried_records", "expired_records", "lost_to_retention_records"),
        *("oldest_record_seconds", "admission_closed", "breaker_open", "suspended"),
        *("refused_commits", "aborted_transactions", "end_to_end_seconds"),
    }
    assert {name for name in trouble if f"headrace_{name}" not in asked} == set()


def test_panels_do_not_overlap_and_are_numbered() -> None:
    shown: list[dict[str, Any]] = dashboard()["panels"]
    places = [
        {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        for place in (each["gridPos"] for each in shown)
    ]
    assert sum(map(len, places)) == len(set().union(*places))
    assert all(x < 24 for place in places for x, _ in place)
    assert len({each["id"] for each in shown}) == len(shown)


def test_the_command_prints_it_as_json() -> None:
    printed = CliRunner().invoke(render_app, ["grafana"])
    assert printed.exit_code == 0
    assert orjson.loads(printed.stdout) == dashboard()
