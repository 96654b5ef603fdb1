"""Backlog and replicas under each policy, as pictures: `python -m benchmarks.autoscaling.plots`."""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.autoscaling.comparison import BASELINES, best_threshold, service_for
from benchmarks.autoscaling.patterns import PATTERNS
from benchmarks.autoscaling.scalers import Headrace
from benchmarks.autoscaling.simulator import Scaler, Simulation

COLD_START_S = 30.0
HOURS = {"steady": 1.0, "diurnal": 24.0, "burst": 3.0, "bulk": 1.5, "single": 2.0}


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


def main(folder: Path) -> None:
    """Write a picture for each pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in PATTERNS:
        draw(pattern).savefig(folder / f"{pattern}.png", dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/autoscaling"))
