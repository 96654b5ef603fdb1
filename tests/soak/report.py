"""The report of a soak: Markdown, and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tests.chaos.checks.promises import Verdict
from tests.soak.run import Outcome
from tests.soak.samples import MEMORY_LIMIT_RATIO, Judged, Sample

_MEBIBYTE = 1024 * 1024
_DPI = 90


def markdown(outcome: Outcome) -> str:
    """Return the report."""
    judged = sorted(outcome.judged, key=lambda each: not each.is_judged)
    lines = [
        "# Soak",
        "",
        "<!-- Written by `make soak`. -->",
        "",
        (
            f"{outcome.duration_s / 60:.0f} minutes of the whole service on one machine: a broker, "
            f"consumers and model replicas on Ray Serve, `{outcome.delivery}`, at "
            f"{outcome.rate_per_s:.0f} records/s. That is {outcome.load_share:.0%} of the "
            f"{outcome.capacity_per_s:.0f} records/s that it could do just before."
        ),
        "",
        f"**{outcome.headline}**",
        "",
        "## Records",
        "",
        *_records(outcome.verdict),
        "",
        "## What happened",
        "",
        "| minute | event |",
        "|---|---|",
        *(f"| {each.at_s / 60:.1f} | {each.kind.value} |" for each in outcome.events),
        "",
        "## What grew",
        "",
        (
            f"Judged from minute {outcome.judged_from_s / 60:.1f} on. The slope is the median of "
            "the slopes between all pairs of samples (Theil and Sen), with its interval of 95 %. "
            f"Resident memory is flat within {MEMORY_LIMIT_RATIO:.0%} an hour. A consumer takes "
            "some three minutes to reach its level, and events here replace consumers: in a run of "
            "much less than an hour that alone may look like growth."
        ),
        "",
        "| of | level | slope an hour | interval | finding |",
        "|---|---|---|---|---|",
        *map(_row, judged),
        "",
        "Processes of Ray and Kafka are shown, and not judged: `not ours`.",
        "",
        "![Resident memory](images/soak/memory.png)",
        "",
        "![Latency and rate](images/soak/latency.png)",
        "",
        "![File descriptors and tasks](images/soak/counts.png)",
        "",
        "## Alerts",
        "",
        _alerts(outcome),
        "",
    ]
    return "\n".join(lines)


def _records(verdict: Verdict) -> list[str]:
    return [
        "| accepted | lost | doubled | not explained | stalled partitions | other violations |",
        "|---|---|---|---|---|---|",
        (
            f"| {verdict.accepted} | {verdict.lost} | {verdict.doubled} | {verdict.unexplained} | "
            f"{verdict.stalled_partitions} | {dict(verdict.violations) or 'none'} |"
        ),
    ]


def _row(each: Judged) -> str:
    found = each.trend
    unit = f" {each.unit}" if each.unit else ""
    finding = each.finding if each.is_judged else f"not ours ({each.finding})"
    return (
        f"| {each.what} | {found.level:.4g}{unit} | {found.ratio_per_hour:+.2%} | "
        f"{found.low_per_hour:+.3g} to {found.high_per_hour:+.3g}{unit} | {finding} |"
    )


def _alerts(outcome: Outcome) -> str:
    if outcome.fired is None:
        return "Prometheus is not installed on this machine, so no alert was evaluated."
    if outcome.fired:
        return f"Fired at their ordinary pace: {', '.join(sorted(outcome.fired))}."
    return "Evaluated at their ordinary pace in a real Prometheus: none fired."


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome as plain values; its samples are in the pictures."""
    return {
        "duration_s": outcome.duration_s,
        "delivery": outcome.delivery,
        "capacity_per_s": round(outcome.capacity_per_s, 1),
        "rate_per_s": round(outcome.rate_per_s, 1),
        "headline": outcome.headline,
        "accepted": outcome.verdict.accepted,
        "lost": outcome.verdict.lost,
        "doubled": outcome.verdict.doubled,
        "unexplained": outcome.verdict.unexplained,
        "violations": dict(outcome.verdict.violations),
        "alerts_fired": None if outcome.fired is None else sorted(outcome.fired),
        "events": [{"at_s": each.at_s, "kind": each.kind.value} for each in outcome.events],
        "trends": [
            {
                "of": each.what,
                "level": each.trend.level,
                "ratio_per_hour": each.trend.ratio_per_hour,
                "low_per_hour": each.trend.low_per_hour,
                "high_per_hour": each.trend.high_per_hour,
                "finding": each.finding,
                "is_judged": each.is_judged,
            }
            for each in outcome.judged
        ],
    }


def draw(outcome: Outcome, folder: Path) -> None:
    """Draw memory, latency and counts over time into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _draw_memory(outcome).savefig(folder / "memory.png", dpi=_DPI)
    _draw_latency(outcome).savefig(folder / "latency.png", dpi=_DPI)
    _draw_counts(outcome).savefig(folder / "counts.png", dpi=_DPI)


def _draw_memory(outcome: Outcome) -> Figure:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, (minutes, values) in _by_process(outcome.samples, "resident_bytes").items():
        axes.plot(minutes, [each / _MEBIBYTE for each in values], linewidth=1.0, label=name)
    axes.set_ylabel("resident memory, MiB")
    axes.set_ylim(bottom=0)
    _finish(axes, outcome)
    return figure


def _draw_latency(outcome: Outcome) -> Figure:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    there = [each for each in outcome.samples if each.latencies_s is not None]
    for index, share in enumerate(("50 %", "95 %", "99 %")):
        values = [each.latencies_s[index] for each in there if each.latencies_s is not None]
        above.plot([each.at_s / 60 for each in there], values, linewidth=1.0, label=share)
    above.set_yscale("log")
    above.set_ylabel("seconds to the result")
    pairs = list(zip(outcome.samples, outcome.samples[1:], strict=False))
    rates = [after.finished / max(after.at_s - before.at_s, 1e-9) for before, after in pairs]
    below.plot([after.at_s / 60 for _, after in pairs], rates, linewidth=1.0, label="results")
    below.set_ylabel("a second")
    below.set_ylim(bottom=0)
    _finish(above, outcome)
    _finish(below, outcome)
    return figure


def _draw_counts(outcome: Outcome) -> Figure:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, (minutes, values) in _by_process(outcome.samples, "file_descriptors").items():
        above.plot(minutes, values, linewidth=1.0, label=name)
    above.set_ylabel("file descriptors")
    for name in sorted({name for each in outcome.samples for name in each.readings}):
        there = [each for each in outcome.samples if name in each.readings]
        values = [each.readings[name] for each in there]
        below.plot([each.at_s / 60 for each in there], values, linewidth=1.0, label=name)
    below.set_yscale("symlog")
    below.set_ylabel("tasks, bytes")
    _finish(above, outcome)
    _finish(below, outcome)
    return figure


def _finish(axes: Any, outcome: Outcome) -> None:
    for event in outcome.events:
        axes.axvline(event.at_s / 60, color="0.85", linewidth=0.7, zorder=0)
    axes.axvline(outcome.judged_from_s / 60, color="0.4", linewidth=0.9, linestyle=":")
    axes.set_xlabel("minutes")
    axes.legend(fontsize=6, loc="upper left", ncols=2)


def _by_process(
    samples: Sequence[Sample], value: str
) -> Mapping[str, tuple[list[float], list[float]]]:
    """Return minutes and values of each process, by a name that says what it does."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    names: dict[int, str] = {}
    for sample in samples:
        for pid, process in sample.processes.items():
            if pid not in names:
                number = 1 + sum(name.startswith(f"{process.role} ") for name in names.values())
                names[pid] = f"{process.role} {number}"
            minutes, values = lines.setdefault(names[pid], ([], []))
            minutes.append(sample.at_s / 60)
            values.append(float(getattr(process, value)))
    return lines
