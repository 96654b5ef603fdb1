"""The dashboard asks for metrics that there are, and its panels do not overlap."""

import re
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from headrace.cli.render import render_app
from headrace.observability.alerts.models import NOT_OURS
from headrace.observability.dashboard import dashboard
from headrace.observability.panels import panels
from schemas.metrics import ALL, LAG, MODEL, PUBLISHING, VLLM

QUERIES = [
    pytest.param(query, id=f"{panel.title}: {legend}")
    for row in panels().values()
    for panel in row
    for legend, query in panel.queries.items()
]


@pytest.mark.parametrize("query", QUERIES)
def test_each_query_asks_for_a_metric_of_the_table(query: str) -> None:
    kinds = {each.exported: each.kind for each in (*ALL, *VLLM)} | dict.fromkeys(NOT_OURS, "gauge")
    names = set(re.findall(r"\bray_\w+", query))
    assert names
    assert names <= kinds.keys()
    of_query = {kinds[name] for name in names}
    assert ("rate(" in query) is (of_query != {"gauge"})
    assert ("histogram_quantile(" in query) is (of_query == {"histogram"})
    assert query.count("(") == query.count(")")
    for name in names:
        # A gauge has no rate, and of a counter nothing else is meant.
        assert (f"rate({name}" in query) is (kinds[name] != "gauge")


def test_rows_of_models_sinks_and_lag_show_what_the_table_has() -> None:
    asked = " ".join(query.values[0] for query in QUERIES)  # type: ignore[misc]
    wanted = {each.exported for each in (*LAG, *MODEL, *PUBLISHING)}
    # Of calls the records are shown, of texts that were computed the tokens.
    left_out = {
        "ray_headrace_model_calls_total",
        "ray_headrace_model_texts_total",
        "ray_headrace_model_waiting_tokens",
    }
    assert {name for name in wanted if name not in asked} == left_out


def test_each_metric_that_stands_for_trouble_is_on_it() -> None:
    asked = " ".join(query.values[0] for query in QUERIES)  # type: ignore[misc]
    trouble = {
        *("dead_letter_records", "retried_records", "expired_records", "lost_to_retention_records"),
        *("oldest_record_seconds", "admission_closed", "breaker_open", "suspended"),
        *("refused_commits", "aborted_transactions", "end_to_end_seconds"),
        *("remaining_records", "lag_seconds", "completion_map_ratio", "gpu_memory_used_bytes"),
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
