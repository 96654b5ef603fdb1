"""A Grafana dashboard of the metrics, as JSON that Grafana imports. Pure."""

from collections.abc import Iterator
from typing import Any

from headrace.observability.panels import Panel, panels
from schemas.metrics import metric

_COLUMNS, _PANEL_WIDTH, _PANEL_HEIGHT = 24, 8, 7
_SCHEMA_VERSION = 39
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard; its reader chooses the data source, routes and models."""
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
    for label, of in (("route", "assigned_partitions"), ("model", "model_calls")):
        yield _label_variable(label, metric(of).exported)


def _label_variable(label: str, series: str) -> dict[str, Any]:
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values({series}, {label})",
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
