"""The dashboard's panels, asked of a Prometheus and drawn: a picture for each row."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headrace.observability.panels import MODELS, ROUTES, WINDOW, Panel, panels
from tests.alerts.prometheus import Prometheus

_COLUMNS = 3
_STEP_S = 2.0
_WIDTH_IN, _HEIGHT_IN, _DPI = 4.2, 2.5, 80
_MOST_LINES = 10
_LABEL = re.compile(r"\{\{(\w+)\}\}")
_UNITS = {
    "s": "seconds",
    "ops": "a second",
    "Bps": "bytes a second",
    "bytes": "bytes",
    "percentunit": "share",
    "short": "",
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A panel's lines, by legend: epoch seconds and values."""

    panel: Panel
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    empty: tuple[str, ...]
    """Legends of queries that returned nothing."""


async def read_panels(
    prometheus: Prometheus, start_s: float, end_s: float, window: str
) -> dict[str, list[Drawn]]:
    """Ask for all panels, by the title of their row."""
    return {
        row: [await _read(prometheus, panel, start_s, end_s, window) for panel in found]
        for row, found in panels().items()
    }


async def _read(
    prometheus: Prometheus, panel: Panel, start_s: float, end_s: float, window: str
) -> Drawn:
    lines: dict[str, tuple[list[float], list[float]]] = {}
    empty = []
    for legend, query in panel.queries.items():
        asked = query.replace(WINDOW, window).replace(ROUTES, ".*").replace(MODELS, ".*")
        series = await prometheus.query_range(asked, start_s, end_s, _STEP_S)
        if not series:
            empty.append(legend)
        for each in series:
            points = [(at_s, float(value)) for at_s, value in each["values"]]
            name = _named(legend, each["metric"])
            lines[name] = ([at_s for at_s, _ in points], [value for _, value in points])
    return Drawn(panel, lines, tuple(empty))


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return _LABEL.sub(lambda found: labels.get(found[1], ""), legend)


def draw(rows: Mapping[str, Sequence[Drawn]], folder: Path) -> list[Path]:
    """Draw each row that has data; return the pictures' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for row, found in rows.items():
        shown = [each for each in found if each.lines]
        if not shown:
            continue
        deep = -(-len(shown) // _COLUMNS)
        figure = Figure(
            figsize=(_COLUMNS * _WIDTH_IN, deep * _HEIGHT_IN), layout="constrained", dpi=_DPI
        )
        axes: Any = figure.subplots(deep, _COLUMNS, squeeze=False)
        begin_s = min(times[0] for each in shown for times, _ in each.lines.values())
        for place, each in zip(axes.flat, shown, strict=False):
            _draw(place, each, begin_s)
        for place in axes.flat[len(shown) :]:
            place.set_axis_off()
        name = "".join(letter if letter.isalnum() else "-" for letter in row.lower()).strip("-")
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1])
    return paths


def _draw(axes: Axes, drawn: Drawn, begin_s: float) -> None:
    axes.set_title(drawn.panel.title, fontsize=9, loc="left")
    lines = sorted(drawn.lines.items(), key=lambda line: -max(line[1][1], default=0.0))
    for name, (times, values) in lines[:_MOST_LINES]:
        minutes = [(at_s - begin_s) / 60 for at_s in times]
        axes.plot(minutes, values, linewidth=0.9, label=name)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(_UNITS[drawn.panel.unit], fontsize=7)
    axes.set_xlabel("minutes", fontsize=7)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=5.5, loc="upper left", framealpha=0.6)
