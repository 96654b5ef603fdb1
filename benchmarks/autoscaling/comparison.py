"""The service's policy and both baselines on the same arrivals; the baselines' thresholds tuned.

A baseline gets, for each pattern, the cheapest threshold of a grid that meets the drain target as
often as the service must. If none does, it gets the one that meets it most often.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.autoscaling.least import least_replica_s
from benchmarks.autoscaling.patterns import PATTERNS, Arrivals
from benchmarks.autoscaling.scalers import Headrace, LagThreshold, ServeDefault
from benchmarks.autoscaling.simulator import Run, Scaler, Service, Simulation
from benchmarks.harness import percentile

LEAST_MET = 0.99
REPLICA_RECORDS_PER_S = 50.0
DRAIN_TARGETS_S = {3.0: 60.0, 30.0: 120.0, 300.0: 900.0}
"""By cold start, both in seconds."""
MOST_REPLICAS = {"bulk": 1_000}
"""By pattern, if it takes more than the usual number to meet the target."""
_USUAL_MOST_REPLICAS = 40
_GRID = (2.0, 1.5, 1.0, 0.75, 0.5, 0.25, 0.125, 0.0625)
"""Of the records that one replica finishes within the drain target."""

Maker = Callable[[Service, float], Scaler]

BASELINES: dict[str, Maker] = {
    "serve-default": lambda _service, threshold: ServeDefault(threshold),
    "lag-threshold": lambda service, threshold: LagThreshold(
        threshold, partitions=service.partitions
    ),
}
"""By name; each takes the service and a threshold in records a replica."""

QUICK_BASELINES: dict[str, Maker] = {
    "serve-default, our delays": lambda service, threshold: ServeDefault(
        threshold, 0.0, max(10.0, service.cold_start_s)
    ),
    "lag-threshold, our delays": lambda service, threshold: LagThreshold(
        threshold, max(10.0, service.cold_start_s), service.partitions
    ),
}
"""The same without the delays that they come with: reported, not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy on one pattern with one cold start, over all seeds.

    Attributes:
        pattern: Of the arrivals.
        policy: Its name.
        cold_start_s: Of a replica.
        drain_target_s: Within this, arrivals must be finished.
        threshold_records: A baseline's; ``None`` for the service's policy.
        hours: Simulated.
        replica_hours: Paid for.
        work_hours: Replica-hours of work that arrived.
        least_replica_hours: What no policy can do without; see ``least_replica_s``.
        met_share: Of the feasible bursts, or of steps if the pattern has none.
        bursts: All of them.
        feasible_bursts: Those that scaling to the maximum at once could have finished in time.
        drained_p50_s: Median drain time of the feasible bursts; ``None`` without any.
        drained_p99_s: Their 99th percentile.
        most_direction_changes: For one burst.
        direction_changes_per_hour: Over everything.
    """

    pattern: str
    policy: str
    cold_start_s: float
    drain_target_s: float
    threshold_records: float | None
    hours: float
    replica_hours: float
    work_hours: float
    least_replica_hours: float
    met_share: float
    bursts: int
    feasible_bursts: int
    drained_p50_s: float | None
    drained_p99_s: float | None
    most_direction_changes: int
    direction_changes_per_hour: float


def service_for(pattern: str, cold_start_s: float) -> Service:
    """Return what is scaled under a pattern."""
    return Service(
        replica_records_per_s=REPLICA_RECORDS_PER_S,
        cold_start_s=cold_start_s,
        drain_target_s=DRAIN_TARGETS_S[cold_start_s],
        max_replicas=MOST_REPLICAS.get(pattern, _USUAL_MOST_REPLICAS),
    )


def compare(pattern: str, cold_start_s: float, hours: float, seeds: int) -> list[Row]:
    """Run all policies on a pattern: the service's first, then each baseline at its best."""
    service = service_for(pattern, cold_start_s)
    drawn = [PATTERNS[pattern](service, hours, seed) for seed in range(seeds)]
    rows = [measure(pattern, "headrace", service, drawn, None, lambda: Headrace(service))]
    for name, maker in {**BASELINES, **QUICK_BASELINES}.items():
        tried = at_thresholds(pattern, name, maker, service, drawn, _thresholds(service))
        rows.append(best(list(tried)))
    return rows


def at_thresholds(
    pattern: str,
    name: str,
    maker: Maker,
    service: Service,
    drawn: Sequence[Arrivals],
    thresholds: Sequence[float],
) -> Iterator[Row]:
    """Yield the result of a baseline with each threshold, in records a replica."""
    for threshold in thresholds:
        make = partial(maker, service, threshold)
        yield measure(pattern, name, service, drawn, threshold, make)


def measure(
    pattern: str,
    policy: str,
    service: Service,
    drawn: Sequence[Arrivals],
    threshold: float | None,
    make: Callable[[], Scaler],
) -> Row:
    """Run one policy on arrivals, a new one for each seed.

    Args:
        pattern: Of the arrivals.
        policy: Its name.
        service: What is scaled.
        drawn: The arrivals of seed 0, 1 and so on.
        threshold: A baseline's, in records a replica.
        make: Makes the policy.
    """
    runs = [_simulate(service, make(), each, seed) for seed, each in enumerate(drawn)]
    return _row(pattern, policy, service, threshold, runs)


def best_threshold(pattern: str, cold_start_s: float, baseline: str, hours: float = 12.0) -> float:
    """Return a baseline's best threshold, in records a replica, on one seed."""
    service = service_for(pattern, cold_start_s)
    arrivals = PATTERNS[pattern](service, hours, 0)
    rows = []
    for threshold in _thresholds(service):
        run = _simulate(service, BASELINES[baseline](service, threshold), arrivals, 0)
        rows.append(_row(pattern, baseline, service, threshold, [run]))
    chosen = best(rows).threshold_records
    return _thresholds(service)[0] if chosen is None else chosen


def best(rows: list[Row]) -> Row:
    """Return the cheapest of those that meet the target often enough, or the most reliable one."""
    meeting = [each for each in rows if each.met_share >= LEAST_MET]
    if meeting:
        return min(meeting, key=lambda each: each.replica_hours)
    return max(rows, key=lambda each: (each.met_share, -each.replica_hours))


def _thresholds(service: Service) -> list[float]:
    return [each * REPLICA_RECORDS_PER_S * service.drain_target_s for each in _GRID]


def _simulate(service: Service, scaler: Scaler, arrivals: Arrivals, seed: int) -> Run:
    return Simulation(service, scaler, seed).run(arrivals.usual, arrivals.fresh_bursts())


def _row(
    pattern: str, policy: str, service: Service, threshold: float | None, runs: list[Run]
) -> Row:
    bursts = [each for run in runs for each in run.bursts]
    feasible = [each for each in bursts if each.is_feasible]
    drained: list[float] = [
        each.drained_s if each.drained_s is not None else float("inf") for each in feasible
    ]
    target_s = service.drain_target_s
    if feasible:
        met_share = sum(each <= target_s for each in drained) / len(drained)
    else:
        met_share = sum(run.met_share(target_s) for run in runs) / len(runs)
    hours = sum(run.hours for run in runs)
    return Row(
        pattern=pattern,
        policy=policy,
        cold_start_s=service.cold_start_s,
        drain_target_s=target_s,
        threshold_records=threshold,
        hours=hours,
        replica_hours=sum(run.replica_s for run in runs) / 3600,
        work_hours=sum(run.records for run in runs) / service.replica_records_per_s / 3600,
        least_replica_hours=sum(least_replica_s(service, run) for run in runs) / 3600,
        met_share=met_share,
        bursts=len(bursts),
        feasible_bursts=len(feasible),
        drained_p50_s=_finite(percentile(drained, 0.5)) if drained else None,
        drained_p99_s=_finite(percentile(drained, 0.99)) if drained else None,
        most_direction_changes=max((run.most_direction_changes for run in runs), default=0),
        direction_changes_per_hour=sum(run.direction_changes for run in runs) / hours,
    )


def _finite(value: float) -> float | None:
    return None if value == float("inf") else value


def as_values(row: Row) -> dict[str, Any]:
    """Return a row as plain JSON values."""
    return {name: getattr(row, name) for name in Row.__slots__}
