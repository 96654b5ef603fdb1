"""The results of a run: a JSON file and a plot for each benchmark, a table on the screen."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.harness import CurvePlot, Result, Series, worst_series
from benchmarks.registry import Benchmark


def is_met(benchmark: Benchmark, result: Result) -> bool | None:
    """Return whether every series reaches the bar; ``None`` if there is none."""
    if benchmark.bar is None:
        return None
    _, worst = worst_series(result, benchmark.bar)
    return result.holds and benchmark.bar.is_met(worst.ratio)


def to_document(
    benchmark: Benchmark, result: Result, environment: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a benchmark's results file as plain JSON values.

    The judged series, the worst one, is at the top; ``series`` has them all.
    """
    label, worst = worst_series(result, benchmark.bar)
    return {
        "name": benchmark.name,
        **_describe(worst),
        "judged_series": label,
        "bar": None if benchmark.bar is None else benchmark.bar.limit,
        "bar_direction": None if benchmark.bar is None else benchmark.bar.direction,
        "aim": benchmark.aim,
        "is_met": is_met(benchmark, result),
        "unit": benchmark.unit,
        "subject_is": benchmark.subject,
        "baseline_is": benchmark.baseline,
        "series": {name: _describe(series) for name, series in result.series.items()},
        "details": dict(result.details),
        "environment": dict(environment),
    }


def write(
    benchmark: Benchmark, result: Result, environment: Mapping[str, Any], folder: Path
) -> Path:
    """Write ``NAME.json`` and ``NAME.png`` into ``folder``, and return the JSON file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{benchmark.name}.json"
    document = to_document(benchmark, result, environment)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    plot(benchmark, result).savefig(path.with_suffix(".png"), dpi=120)
    return path


def table(measured: Sequence[tuple[Benchmark, Result]]) -> Table:
    """Return the table of all series."""
    made = Table(title="Benchmarks: service / baseline, median of the rounds")
    for heading in ("benchmark", "service", "baseline", "unit", "ratio", "range", "bar", "aim", ""):
        numbers = heading in {"service", "baseline", "ratio", "range"}
        made.add_column(heading, justify="right" if numbers else "left")
    for benchmark, result in measured:
        for name, series in result.series.items():
            low, high = series.ratio_range
            verdict = "" if benchmark.bar is None else "missed"
            if benchmark.bar is not None and result.holds and benchmark.bar.is_met(series.ratio):
                verdict = "met"
            made.add_row(
                benchmark.name if name == "all" else f"{benchmark.name}, {name}",
                f"{series.subject:,.4g}" if series.subject < 1000 else f"{series.subject:,.0f}",
                f"{series.baseline:,.4g}" if series.baseline < 1000 else f"{series.baseline:,.0f}",
                benchmark.unit,
                f"{series.ratio:.3f}",
                f"{low:.3f} to {high:.3f}",
                str(benchmark.bar or "none"),
                f"{benchmark.aim:g}" if benchmark.aim else "",
                verdict,
            )
    return made


def plot(benchmark: Benchmark, result: Result) -> Figure:
    """Draw the rounds of both sides, or the benchmark's own curves."""
    if result.plot is not None:
        return _plot_curves(benchmark, result.plot)
    figure = Figure(figsize=(4.5 * len(result.series), 4), layout="constrained")
    panels = figure.subplots(1, len(result.series), squeeze=False)[0]
    for panel, (name, series) in zip(panels, result.series.items(), strict=True):
        sides = [
            [one.subject for one in series.rounds],
            [one.baseline for one in series.rounds],
        ]
        panel.bar([0, 1], [series.subject, series.baseline], width=0.5, color=["C0", "0.75"])
        for place, values in enumerate(sides):
            panel.plot([place] * len(values), values, "k.", alpha=0.6)
        panel.set_xticks([0, 1], ["service", "baseline"])
        panel.set_ylabel(benchmark.unit)
        low, high = series.ratio_range
        condition = "" if name == "all" else f", {name}"
        panel.set_title(
            f"{benchmark.name}{condition}: {series.ratio:.2f} ({low:.2f} to {high:.2f})"
        )
    figure.supxlabel(f"baseline: {benchmark.baseline}", fontsize="small")
    return figure


def _plot_curves(benchmark: Benchmark, curve_plot: CurvePlot) -> Figure:
    curves = curve_plot.curves
    figure = Figure(figsize=(6, 2.8 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), 1, squeeze=False, sharex=True)[:, 0]
    for panel, curve in zip(panels, curves, strict=True):
        panel.plot(curve.x, curve.y, "o-")
        panel.set_xscale("log")
        panel.set_ylim(bottom=0, top=1.3 * max(curve.y))
        panel.set_ylabel(curve.label)
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel(curve_plot.x_label)
    figure.suptitle(benchmark.name)
    return figure


def _describe(series: Series) -> dict[str, Any]:
    low, high = series.ratio_range
    return {
        "ratio": series.ratio,
        "ratio_range": [low, high],
        "subject": series.subject,
        "baseline": series.baseline,
        "rounds": [
            {"subject": one.subject, "baseline": one.baseline, "ratio": one.ratio}
            for one in series.rounds
        ],
    }
