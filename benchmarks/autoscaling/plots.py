"""Backlog, replicas and cost under each policy: `python -m benchmarks.autoscaling.plots`."""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.autoscaling.comparison import (
    BASELINES,
    DRAIN_TARGETS_S,
    best_threshold,
    service_for,
)
from benchmarks.autoscaling.equal_drain_time import at_equal_drain_times
from benchmarks.autoscaling.patterns import PATTERNS
from benchmarks.autoscaling.scalers import Headrace
from benchmarks.autoscaling.simulator import Scaler, Simulation

COLD_START_S = 30.0
HOURS = {"steady": 1.0, "diurnal": 24.0, "burst": 3.0, "bulk": 1.5, "single": 2.0}
_MINUTES = (1, 2, 5, 10, 20, 40)


def draw(pattern: str, seed: int = 1) -> Figure:
    """Draw one pattern: the service's policy and each baseline with its best threshold."""
    service = service_for(pattern, COLD_START_S)
    arrivals = PATTERNS[pattern](service, HOURS[pattern], seed)
    scalers: dict[str, Scaler] = {"headrace": Headrace(service)}
    for name, maker in BASELINES.items():
        scalers[name] = maker(service, best_threshold(pattern, COLD_START_S, name))
    figure = Figure(figsize=(9, 5), layout="constrained")
    backlog, replicas = figure.subplots(2, 1, sharex=True)
    for name, scaler in scalers.items():
        run = Simulation(service, scaler, seed).run(arrivals.usual, arrivals.fresh_bursts(), True)
        minutes = [each / 60 for each in run.time_s]
        style = {"linewidth": 1.8 if name == "headrace" else 1.0}
        backlog.plot(minutes, run.remaining, label=name, **style)
        hours = run.replica_s / 3600
        replicas.step(minutes, run.replicas, label=f"{name}: {hours:.1f} replica-hours", **style)
    backlog.set_ylabel("records not done")
    replicas.set_ylabel("replicas that run")
    replicas.set_xlabel("minutes")
    backlog.legend(fontsize="small")
    replicas.legend(fontsize="small")
    figure.suptitle(
        f"{pattern}: cold start {service.cold_start_s:g} s, to be done within "
        f"{service.drain_target_s:g} s"
    )
    return figure


def draw_costs(hours: float = 48.0) -> Figure:
    """Draw the cost of a million records by drain time; a panel for each cold start."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, len(DRAIN_TARGETS_S), sharey=True)
    for panel, cold_start_s in zip(panels, DRAIN_TARGETS_S, strict=True):
        found = sorted(at_equal_drain_times(cold_start_s, hours), key=lambda each: each.asked_s)
        minutes = [each.asked_s / 60 for each in found]
        panel.plot(
            minutes,
            [each.replica_hours for each in found],
            label="headrace",
            linewidth=1.8,
        )
        for name in BASELINES:
            theirs = [each for each in found if each.baseline == name]
            panel.plot(
                [each.asked_s / 60 for each in theirs],
                [each.baseline_replica_hours for each in theirs],
                label=name,
                linewidth=1.0,
            )
        panel.plot(
            minutes,
            [each.least_replica_hours for each in found],
            label="the least possible",
            linewidth=1.0,
            linestyle=":",
            color="black",
        )
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(_MINUTES, [str(each) for each in _MINUTES])
        panel.set_xticks([], minor=True)
        panel.set_xlabel("minutes until all are done")
        panel.set_title(f"cold start {cold_start_s:g} s", fontsize="medium")
    panels[0].set_ylabel("replica-hours a load")
    panels[0].legend(fontsize="small")
    figure.suptitle("A million records at once, both asked to be done in the same time")
    return figure


def main(folder: Path) -> None:
    """Write a picture for each pattern, and one of the costs."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in PATTERNS:
        draw(pattern).savefig(folder / f"{pattern}.png", dpi=100)
    draw_costs().savefig(folder / "costs.png", dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/autoscaling"))
