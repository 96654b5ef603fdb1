"""A Grafana dashboard of the metrics, as JSON that Grafana imports. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.metrics import metric

_WINDOW = "$__rate_interval"
_COLUMNS, _PANEL_WIDTH, _PANEL_HEIGHT = 24, 8, 7
_SCHEMA_VERSION = 39
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_OF_ROUTE = '{route=~"$route"}'


@dataclass(frozen=True, slots=True)
class Panel:
    """A diagram over time; ``queries`` are PromQL by the legend of their lines."""

    title: str
    unit: str
    queries: dict[str, str]


def panels() -> dict[str, tuple[Panel, ...]]:
    """Return the rows of panels, by their title."""
    return {
        "Records": (
            Panel(
                "Outcomes",
                "ops",
                {
                    "completed {{route}}": _rate("completed_records"),
                    "refused {{route}}": _rate("refused_records"),
                    "expired {{route}}": _rate("expired_records"),
                    "cancelled {{route}}": _rate("cancelled_records"),
                },
            ),
            Panel(
                "Failures",
                "ops",
                {
                    "dead letters {{route}}": _rate("dead_letter_records"),
                    "tried again {{route}}": _rate("retried_records"),
                    "lost to retention {{route}}": _rate("lost_to_retention_records"),
                },
            ),
            Panel("Tokens a second", "ops", {"{{route}}": _rate("measured_tokens")}),
        ),
        "Times": (
            Panel("End to end", "s", _quantiles("end_to_end_seconds")),
            Panel(
                "Where the time goes (95 %)",
                "s",
                {
                    "waiting {{route}}": _quantile("waiting_seconds", 0.95),
                    "model {{route}}": _quantile("model_seconds", 0.95),
                    "publishing {{route}}": _quantile("publishing_seconds", 0.95),
                    "committing {{route}}": _quantile("committing_seconds", 0.95),
                },
            ),
            Panel(
                "Oldest record without an outcome",
                "s",
                {"{{route}}": _over("max", "oldest_record_seconds")},
            ),
        ),
        "Consumers": (
            Panel(
                "Records in memory",
                "short",
                {
                    "in flight {{route}}": _over("sum", "in_flight_records"),
                    "queued {{route}}": _over("sum", "queued_records"),
                    "held {{route}}": _over("sum", "held_records"),
                },
            ),
            Panel("Bytes in memory", "bytes", {"{{route}}": _over("sum", "held_bytes")}),
            Panel(
                "Standing still",
                "short",
                {
                    "reading paused {{route}}": _over("sum", "admission_closed"),
                    "model rests {{route}}": _over("sum", "breaker_open"),
                    "rebalancing {{route}}": _over("sum", "suspended"),
                },
            ),
            Panel(
                "Replicas and partitions",
                "short",
                {
                    "partitions {{route}}": _over("sum", "assigned_partitions"),
                    "model replicas {{route}}": _over("max", "model_replicas"),
                },
            ),
            Panel(
                "Group",
                "ops",
                {
                    "rebalances {{route}}": _rate("assignments"),
                    "commits {{route}}": _rate("commits"),
                    "refused commits {{route}}": _rate("refused_commits"),
                    "aborted transactions {{route}}": _rate("aborted_transactions"),
                },
            ),
        ),
        "Autoscaling": (
            Panel(
                "Replicas",
                "short",
                {
                    "target {{deployment}}": _of_deployment("autoscaling_target"),
                    "wanted {{deployment}}": _of_deployment("autoscaling_wanted"),
                },
            ),
            Panel(
                "Backlog",
                "short",
                {"{{deployment}}": _of_deployment("autoscaling_remaining_records")},
            ),
            Panel(
                "Time to drain",
                "s",
                {"{{deployment}}": f"{_of_deployment('autoscaling_remaining_s')} >= 0"},
            ),
        ),
    }


def dashboard() -> dict[str, Any]:
    """Return the dashboard; it asks for a data source and routes when it is opened."""
    return {
        "title": "Headrace",
        "uid": "headrace",
        "tags": ["headrace", "kafka", "ray"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": list(_placed()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "type": "datasource", "query": "prometheus"}
    series = metric("assigned_partitions").exported
    yield {
        "name": "route",
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values({series}, route)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _placed() -> Iterator[dict[str, Any]]:
    top = number = 0
    for title, row in panels().items():
        number += 1
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}
        top += 1
        for index, panel in enumerate(row):
            number += 1
            across = index * _PANEL_WIDTH
            place = {
                "x": across % _COLUMNS,
                "y": top + across // _COLUMNS * _PANEL_HEIGHT,
                "w": _PANEL_WIDTH,
                "h": _PANEL_HEIGHT,
            }
            yield {"id": number, "gridPos": place, **_time_series(panel)}
        top += -(-len(row) * _PANEL_WIDTH // _COLUMNS) * _PANEL_HEIGHT


def _time_series(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 8}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": _reference(index), "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _reference(index: int) -> str:
    return chr(ord("A") + index)


def _rate(name: str) -> str:
    return f"sum by (route) (rate({metric(name).exported}{_OF_ROUTE}[{_WINDOW}]))"


def _over(aggregation: str, name: str) -> str:
    return f"{aggregation} by (route) ({metric(name).exported}{_OF_ROUTE})"


def _of_deployment(name: str) -> str:
    return f"max by (deployment) ({metric(name).exported})"


def _quantile(name: str, share: float) -> str:
    buckets = f"{metric(name).exported}{_OF_ROUTE}[{_WINDOW}]"
    return f"histogram_quantile({share:g}, sum by (le, route) (rate({buckets})))"


def _quantiles(name: str, shares: Sequence[float] = (0.5, 0.95, 0.99)) -> dict[str, str]:
    return {f"{share:.0%} {{{{route}}}}": _quantile(name, share) for share in shares}
